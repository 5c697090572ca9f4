"""Stand-ins on 127.0.0.1 for the services that some peers speak to, for ``llamaindex_peers.py``.

They answer as the services' documentation says and refuse nothing but a blank query to rerank for. Behind the embedding
and reranking services stand the project's mini models, in a process of its own: checks that count threads must see
the peer's only. Run as a script, this prints the address of those services and ends when its input does.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from llamaindex_qwen3.testing.chat_server import ScriptedChatServer
from qwen3_core import LocalEmbedder, LocalReranker


class OllamaServer(ScriptedChatServer):
    """Ollama's own protocol: ``/api/chat`` (lines of JSON when streamed) and ``/api/show``.

    A `format` constrains the content from its first token, so that no tag comes before the JSON; the parser of
    reasoning eats the white space behind it; tool calls are sent whole.
    """

    def answer(self, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        """Return status, content type and text of the reply, and note the requests of a chat."""
        if "messages" not in body:  # /api/show
            return 200, "application/json", json.dumps({"model_info": {"qwen3.context_length": 40_960}})
        stream = body.get("stream", True)
        messages = [{"content": "", **message} for message in body["messages"]]  # clients leave out what is empty
        status, _, text = super().answer({**body, "messages": messages, "stream": stream}, headers)
        if status != 200:
            return status, "application/json", json.dumps({"error": self.error})
        if stream:
            chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
            replies = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
        else:
            replies = [json.loads(text)["choices"][0]["message"]]
        lines = list(self._lines(body, replies, stream=stream))
        kind = "application/x-ndjson" if stream else "application/json"
        return 200, kind, "".join(json.dumps(line) + "\n" for line in lines)

    def _lines(self, body: dict[str, Any], replies: list[dict[str, Any]], *, stream: bool) -> Iterator[dict[str, Any]]:
        head = {"model": body["model"], "created_at": "2026-01-01T00:00:00Z"}
        thoughts = [reply.get(self.reasoning_field) or "" for reply in replies]
        contents = [reply.get("content") or "" for reply in replies]
        if body.get("format"):
            contents = ["".join(contents).rpartition("</think>")[2].strip()]
        if any(thoughts):
            contents = list(itertools.dropwhile(lambda piece: not piece.strip(), contents))
            contents[:1] = [piece.lstrip() for piece in contents[:1]]
        names: dict[int, str] = {}
        arguments: dict[int, str] = {}
        for reply in replies:
            for place, call in enumerate(reply.get("tool_calls") or []):
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
        if any(thoughts):
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

    TEI embeds what it is given. DashScope puts an instruction before the text if `text_type` is "query", and returns
    the best `top_n` documents in the order of their scores.
    """

    def answer(self, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> tuple[int, str, str]:  # noqa: ARG002
        """Return status, content type and text of the reply."""
        parameters, given = body.get("parameters") or {}, body.get("input") or {}
        try:
            if "inputs" in body:
                return 200, "application/json", json.dumps(_embedder().embed_documents(body["inputs"]))
            output = self._embed(given["texts"], parameters) if "texts" in given else self._rerank(given, parameters)
        except ValueError as error:  # a blank query
            refusal = {"code": "InvalidParameter", "message": str(error), "request_id": "stand-in"}
            return 400, "application/json", json.dumps(refusal)
        found = {"request_id": "stand-in", "output": output, "usage": {"total_tokens": 1}}
        return 200, "application/json", json.dumps(found)

    def _embed(self, texts: list[str], parameters: dict[str, Any]) -> dict[str, Any]:
        embedder = _embedder()
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
