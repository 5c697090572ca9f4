"""`python -m qwen3_cli` is `qwen3-rag`."""

from qwen3_cli.app import app

app()
