"""`python -m langchain_qwen3.cli` is `qwen3-rag`."""

from langchain_qwen3.cli.app import app

app()
