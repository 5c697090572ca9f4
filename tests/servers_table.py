"""The table of `docs/servers.md`, made from the code; `python tests/servers_table.py` prints it."""

from __future__ import annotations

from urllib.parse import urlsplit

from qwen3_core.remote.embedding import EmbeddingInput, EmbeddingRoute, embedding_route
from qwen3_core.remote.reranking import RerankInput, RerankRoute, rerank_route
from qwen3_core.remote.routes import Limits
from qwen3_core.thinking import DIALECTS, dialect_of

SERVERS = {
    "vLLM": ("vllm", "http://host:8000/v1"),
    "SGLang": ("sglang", "http://host:30000/v1"),
    "llama.cpp": ("llama.cpp", "http://host:8080/v1"),
    "TEI": ("tei", "http://host:8080"),
    "Ollama": ("ollama", "http://host:11434/v1"),
    "LM Studio": ("lmstudio", "http://host:1234/v1"),
    "Xinference": ("xinference", "http://host:9997/v1"),
    "`transformers serve`": ("transformers", "http://host:8000/v1"),
    "DashScope": ("dashscope", "https://dashscope.aliyuncs.com/compatible-mode/v1"),
    "DashScope, own routes": ("dashscope", "https://dashscope.aliyuncs.com/api/v1"),
    "OpenAI's API elsewhere": ("openai", "https://host/v1"),
    "not named": ("auto", "http://host/v1"),
}
"""What people call a server, its word, and a URL."""

COLUMNS = ("server", "embed", "rerank", "thinking", "instruction", "dimensions", "who writes the prompt", "limits")

DIMENSIONS = {
    "vllm": "with `is_matryoshka`, else cut here",
    "sglang": "with `is_matryoshka`, else cut here",
    "llama.cpp": "cut here",
    "tei": "cut here where it ignores them",
    "ollama": "yes",
    "dashscope": "those of the model",
}
"""What becomes of ``dimensions``; the tests of the dialects hold it."""

_UNNAMED = "asked for, cut here where ignored"


def table() -> str:
    """Return the table as Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|--" * len(COLUMNS) + "|"]
    for name, (word, url) in SERVERS.items():
        lines.append("| " + " | ".join(row(name, word, url)) + " |")
    return "\n".join(lines)


def row(name: str, word: str, url: str) -> list[str]:
    """Return the cells of a server."""
    embeds, reranks = _embedding(word, url), _reranking(word, url)
    return [
        f"{name} `{word}`",
        _path(embeds.request(url, EmbeddingInput("m", ["a"]))[0]) + " [1]" if embeds else "no [2]",
        ", ".join(_path(each.request(url, RerankInput("m", "q", ["d"], "i"))[0]) for each in reranks) + " [3]"
        if reranks
        else "no [2]",
        _thinking(word, url),
        _instruction(embeds, reranks),
        DIMENSIONS.get(word, _UNNAMED) + " [6]" if embeds else "-",
        _prompts(embeds, reranks),
        _limits(embeds, reranks),
    ]


def _embedding(word: str, url: str) -> EmbeddingRoute | None:
    try:
        return embedding_route(word, url)
    except ValueError:
        return None


def _reranking(word: str, url: str) -> list[RerankRoute]:
    found: list[RerankRoute] = []
    for template in ("server", "client"):
        try:
            found.append(rerank_route(word, url, template))
        except ValueError:
            continue
    return found


def _path(url: str) -> str:
    return f"`{urlsplit(url).path}`"


def _thinking(word: str, url: str) -> str:
    if (word not in DIALECTS and word != "auto") or "/api/v1" in url:
        return "-"
    return f"`{'.'.join(dialect_of(word, url).switch)}` [4]"


def _instruction(embeds: EmbeddingRoute | None, reranks: list[RerankRoute]) -> str:
    parts = [f"queries: {'any' if embeds.any_instruction else 'any, its own with `template=server`'}"] if embeds else []
    if reranks:
        fields = {each.instruction_field for each in reranks if each.template == "server"} - {None}
        free = any(each.template == "client" for each in reranks)
        said = ", ".join(f"`{field}`" for field in sorted(map(str, fields)))
        parts.append(f"pairs: {said or ('any' if free else 'the default only')}")
    return "; ".join(parts) + " [5]" if parts else "-"


def _prompts(embeds: EmbeddingRoute | None, reranks: list[RerankRoute]) -> str:
    parts = [f"queries: {' or '.join(embeds.templates)}"] if embeds else []
    if reranks:
        parts.append(f"pairs: {' or '.join(each.template for each in reranks)}")
    return "; ".join(parts) + " [7]" if parts else "-"


def _limits(embeds: EmbeddingRoute | None, reranks: list[RerankRoute]) -> str:
    parts = [_limit(embeds.limits(embeds.default_model or ""), "texts")] if embeds else []
    if reranks and reranks[0].limits("").fixed:
        parts.append(_limit(reranks[0].limits(""), "documents"))
    return "; ".join(parts) + " [8]" if parts else "-"


def _limit(limits: Limits, what: str) -> str:
    parts = [f"{limits.rows} {what} a request" if limits.fixed else f"{limits.rows} {what} a request by default"]
    if limits.fixed:
        parts.append(f"{limits.tokens:,} tokens")
    if limits.row_tokens:
        parts.append(f"{limits.row_tokens:,} in each")
    if limits.refuses:
        parts.append(f"no {limits.refuses} ones")
    return ", ".join(parts)


if __name__ == "__main__":
    print(table())  # noqa: T201
