"""DashScope's native routes, whose requests are nested: ``input`` and ``parameters``.

Sources: shared fact sheet §4 (bodies), zhimaAi/chatwiki ``ali/embedding.go`` and the Java SDK's
``TextEmbeddingResultItem`` (``text_index``), help.aliyun.com *text-rerank-api*.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scripted_retrieval import model
from scripted_retrieval.answers import Answered, Refusal, ranked
from scripted_retrieval.dashscope_rules import DEFAULT_DIMENSION, MISSING
from scripted_retrieval.faults import Row
from scripted_retrieval.openai_shapes import usage
from scripted_retrieval.templates import INSTRUCT

if TYPE_CHECKING:
    from scripted_retrieval.dashscope import DashScope

EMBEDDING = "/api/v1/services/embeddings/text-embedding/text-embedding"
RERANK = "/api/v1/services/rerank/text-rerank/text-rerank"
OUTPUTS = ("dense", "sparse", "dense&sparse")
UNVERIFIED_PARAMETER = "<400> InternalError.Algo.InvalidParameter: Value error, {name} is invalid: parameters.{name}"


def embed(server: "DashScope", body: dict[str, Any]) -> Answered:
    """Embed texts, or queries behind a task."""
    given, wishes = _nested(server, body, "texts", "text_type dimension output_type instruct")
    kind, output = wishes.get("text_type", "document"), wishes.get("output_type", "dense")
    for name, value, known in (("text_type", kind, ("query", "document")), ("output_type", output, OUTPUTS)):
        if value not in known:
            raise Refusal(UNVERIFIED_PARAMETER.format(name=name))
    texts = server.checked(body, given.get("texts"), wishes.get("dimension"))
    # That a query without a task gets the default one is not verified.
    task = INSTRUCT if server.ignores_instruction else wishes.get("instruct") or INSTRUCT
    read = [f"Instruct: {task}\nQuery:{text}" if kind == "query" else text for text in texts]
    rows = server.vectors(texts, read, wishes.get("dimension") or DEFAULT_DIMENSION)

    def write(rows: list[Row]) -> dict[str, Any]:
        items = []
        for row in rows:
            item: dict[str, Any] = {"text_index": row.index}
            if output != "sparse":
                item["embedding"] = row.value
            if output != "dense":
                item["sparse_embedding"] = _sparse(row.text)
            items.append(item)
        return _answer(server, {"embeddings": items}, usage(read)["total_tokens"])

    return Answered(rows, write)


def rerank(server: "DashScope", body: dict[str, Any]) -> Answered:
    """Rerank documents, and give them back if asked."""
    given, wishes = _nested(server, body, "query documents", "top_n return_documents instruct")
    rows, read = server.pairs(given, wishes.get("instruct"))

    def write(rows: list[Row]) -> dict[str, Any]:
        results = [
            {
                "index": row.index,
                "relevance_score": row.value,
                **({"document": {"text": row.text}} if wishes.get("return_documents") else {}),
            }
            for row in rows
        ]
        return _answer(server, {"results": results}, usage(read)["total_tokens"])

    return Answered(ranked(rows, wishes.get("top_n")), write)


def _nested(server: "DashScope", body: Mapping[str, Any], *reads: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``input`` and ``parameters``, and note the fields in them that are not looked at."""
    given, wishes = body.get("input"), body.get("parameters") or {}
    if not isinstance(given, dict) or not isinstance(wishes, dict):
        raise Refusal(MISSING)
    for name, part, read in (("input", given, reads[0]), ("parameters", wishes, reads[1])):
        server.ignored[-1] += tuple(f"{name}.{field}" for field in sorted(set(part) - set(read.split())))
    return given, wishes


def _answer(server: "DashScope", output: dict[str, Any], tokens: int) -> dict[str, Any]:
    number = f"5bf78562-{len(server.requests)}"
    return {"output": output, "usage": {"total_tokens": tokens}, "request_id": number}


def _sparse(text: str) -> list[dict[str, Any]]:
    """Return weights of words; the fields' names are in the SDK, their meaning is not verified."""
    words = model.words_of(text)
    numbers = {word: model.token_ids(word)[0] for word in dict.fromkeys(words)}
    return [
        {"index": number, "value": round(words.count(word) / len(words), 6), "token": word}
        for word, number in sorted(numbers.items(), key=lambda item: item[1])
    ]
