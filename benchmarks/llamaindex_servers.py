"""Stand-ins on 127.0.0.1 for the services that some peers speak to, for ``llamaindex_peers.py``.

They answer as the services' documentation says and refuse nothing that it does not refuse. Behind the embedding
and reranking services stand the project's mini models, in a process of its own: checks that count threads must see
the peer's only. Run as a script, this prints the address of those services and ends when its input does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from llamaindex_qwen3.testing.chat_server import ScriptedChatServer
from qwen3_core import LocalEmbedder, LocalReranker


class OllamaServer(ScriptedChatServer):
    """Ollama's own protocol: ``/api/chat`` (lines of JSON when streamed) and ``/api/show``.

    A `format` constrains the content from its first token, so that no tag comes before the JSON; tool calls are sent
    whole.
    """

    def answer(self, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        """Return status, content type and text of the reply, and note the requests of a chat."""
        if "messages" not in body:  # /api/show
            return 200, "application/json", json.dumps({"model_info": {"qwen3.context_length": 40_960}})
        stream = body.get("stream", True)
        status, _, text = super().answer({**body, "stream": stream}, headers)
        if status != 200:
            return status, "application/json", json.dumps({"error": self.error})
        if stream:
            chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
            messages = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
        else:
            messages = [json.loads(text)["choices"][0]["message"]]
        lines = list(self._lines(body, messages, stream=stream))
        kind = "application/x-ndjson" if stream else "application/json"
        return 200, kind, "".join(json.dumps(line) + "\n" for line in lines)

    def _lines(self, body: dict[str, Any], messages: list[dict[str, Any]], *, stream: bool) -> Iterator[dict[str, Any]]:
        head = {"model": body["model"], "created_at": "2026-01-01T00:00:00Z"}
        thoughts = [message.get(self.reasoning_field) or "" for message in messages]
        contents = [message.get("content") or "" for message in messages]
        if body.get("format"):
            contents = ["".join(contents).rpartition("</think>")[2].strip()]
        names: dict[int, str] = {}
        arguments: dict[int, str] = {}
        for message in messages:
            for place, call in enumerate(message.get("tool_calls") or []):
                index = call.get("index", place)
                names.setdefault(index, call["function"].get("name", ""))
                arguments[index] = arguments.get(index, "") + call["function"]["arguments"]
        calls = [{"function": {"name": names[i], "arguments": json.loads(arguments[i])}} for i in names]
        if stream:
            for field, pieces in (("thinking", thoughts), ("content", contents)):
                for piece in filter(None, pieces):
                    yield {**head, "message": {"role": "assistant", "content": "", field: piece}, "done": False}
            thoughts, contents = [], []
        last: dict[str, Any] = {"role": "assistant", "content": "".join(contents)}
        if "".join(thoughts):
            last["thinking"] = "".join(thoughts)
        if calls:
            last["tool_calls"] = calls
        counts = {"prompt_eval_count": 7, "eval_count": 5}
        yield {**head, "message": last, "done": True, "done_reason": "stop", **counts}


@cache
def _embedder() -> LocalEmbedder:
    return LocalEmbedder("mini", dtype="float32")


@cache
def _reranker() -> LocalReranker:
    return LocalReranker("mini", dtype="float32")


class ModelServer(ScriptedChatServer):
    """Text Embeddings Inference's ``/embed``, and DashScope's native text-embedding and text-rerank.

    TEI embeds what it is given. DashScope puts an instruction before the text if `text_type` is "query", makes
    `dimension` numbers, and returns the best `top_n` documents in the order of their scores.
    """

    def answer(self, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> tuple[int, str, str]:  # noqa: ARG002
        """Return status, content type and text of the reply."""
        if "inputs" in body:
            found: Any = _embedder().embed_documents(body["inputs"])
        else:
            parameters = body.get("parameters") or {}
            given = body["input"]
            output = self._embed(given, parameters) if "texts" in given else self._rerank(given, parameters)
            found = {"request_id": "stand-in", "output": output, "usage": {"total_tokens": 1}}
        return 200, "application/json", json.dumps(found)

    def _embed(self, given: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
        model = (
            LocalEmbedder("mini", dtype="float32", dimensions=size) if (size := parameters.get("dimension")) else None
        )
        embedder, texts = model or _embedder(), given["texts"]
        if parameters.get("text_type") == "query":
            vectors = [embedder.embed_query(text) for text in texts]
        else:
            vectors = embedder.embed_documents(texts)
        return {"embeddings": [{"text_index": place, "embedding": vector} for place, vector in enumerate(vectors)]}

    def _rerank(self, given: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
        scores = _reranker().score(given["query"], given["documents"])
        order = sorted(range(len(scores)), key=lambda place: -scores[place])[: parameters.get("top_n")]
        return {"results": [{"index": place, "relevance_score": scores[place]} for place in order]}


if __name__ == "__main__":
    with ModelServer() as server:
        print(server.url.removesuffix("/v1"), flush=True)
        sys.stdin.read()
