"""The console script `qwen3-rag`: index, search, ask, and a demo that needs no server."""

from qwen3_cli.app import app

__all__ = ["app"]
