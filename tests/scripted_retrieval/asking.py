"""Asking a scripted server with plain HTTP, and reading what comes: for tests of the servers themselves."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from scripted_retrieval.base import ScriptedRetrieval

QUERY = "What is the capital of China?"
BEIJING = "The capital of China is Beijing."
GRAVITY = "Gravity is a force that attracts two bodies towards each other."
TASK = "Given a web search query, retrieve relevant passages that answer the query"
ASKED = f"Instruct: {TASK}\nQuery:{QUERY}"

EMBED_PATHS = {
    "tei": "/embed",
    "ollama": "/api/embed",
    "dashscope-native": "/services/embeddings/text-embedding/text-embedding",
}
RERANK_PATHS = {
    "tei": "/rerank",
    "dashscope": "/compatible-api/v1/reranks",
    "dashscope-native": "/api/v1/services/rerank/text-rerank/text-rerank",
}


def post(server: ScriptedRetrieval, path: str, body: Any, key: str | None = None) -> Any:
    """Post to a path of the server's host, with its key."""
    root = "/".join(server.url.split("/", 3)[:3])
    wanted = server.key if key is None else key
    headers = {"authorization": f"Bearer {wanted}"} if wanted else {}
    return server.clients()["http_client"].post(root + path, json=body, headers=headers)


def get(server: ScriptedRetrieval, path: str) -> Any:
    """Get a page of the server's host, with its key."""
    root = "/".join(server.url.split("/", 3)[:3])
    headers = {"authorization": f"Bearer {server.key}"} if server.key else {}
    return server.clients()["http_client"].get(root + path, headers=headers)


def base_path(server: ScriptedRetrieval) -> str:
    """Return the path of a server's base URL."""
    return server.url.removeprefix("/".join(server.url.split("/", 3)[:3]))


def embed(server: ScriptedRetrieval, texts: Sequence[str] | str, **fields: Any) -> Any:
    """Ask for vectors on the route that is the dialect's own; for DashScope's native one, fields are parameters."""
    given = texts if isinstance(texts, str) else list(texts)
    bodies: dict[str, Any] = {
        "tei": {"inputs": given, **fields},
        "dashscope-native": {"model": server.name, "input": {"texts": given}, "parameters": fields},
    }
    body = bodies.get(server.server, {"model": server.name, "input": given, **fields})
    return post(server, base_path(server) + EMBED_PATHS.get(server.server, "/embeddings"), body)


def rerank(server: ScriptedRetrieval, query: str, documents: Sequence[str], **fields: Any) -> Any:
    """Ask for a ranking on the route that is the dialect's own; for DashScope's native one, fields are parameters."""
    given, model = list(documents), fields.pop("model", "qwen3-rerank")
    pair = {"query": query, "documents": given}
    bodies: dict[str, Any] = {
        "tei": {"query": query, "texts": given, **fields},
        "dashscope-native": {"model": model, "input": pair, "parameters": fields},
    }
    body = bodies.get(server.server, {"model": model, **pair, **fields})
    return post(server, RERANK_PATHS.get(server.server, "/v1/rerank"), body)


def rows_of(response: Any) -> list[Any]:
    """Return an answer's rows, wherever the dialect puts them."""
    assert response.status_code == 200, response.text
    body = response.json()
    if isinstance(body, dict):
        body = body.get("output", body)
        body = next(body[name] for name in ("data", "results", "embeddings") if name in body)
    assert isinstance(body, list)
    return body


def vectors_of(response: Any) -> list[list[Any]]:
    """Return an answer's vectors, in the order of the texts."""
    rows = rows_of(response)
    if rows and isinstance(rows[0], dict):
        rows = [row["embedding"] for row in sorted(rows, key=lambda row: row.get("index", row.get("text_index", 0)))]
    return [np.frombuffer(base64.b64decode(row), "<f4").tolist() if isinstance(row, str) else row for row in rows]


def scores_of(response: Any) -> dict[int, Any]:
    """Return an answer's scores by place in the request, in the order in which they came."""
    return {row["index"]: row.get("relevance_score", row.get("score")) for row in rows_of(response)}


def error_text(response: Any) -> str:
    """Return the text of an error, wherever the dialect puts it."""
    body = response.json()
    error = body.get("error", body)
    text = error if isinstance(error, str) else error.get("message", body.get("detail"))
    assert isinstance(text, str)
    return text
