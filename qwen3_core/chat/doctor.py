"""What a chat server is, and what it does with thinking: asked, not guessed.

It is told apart by what only that server answers, and then it is asked one question with thinking on and with thinking
off, as the components of this project would ask it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwen3_core.chat.body import write_thinking
from qwen3_core.chat.error_hints import hint_for
from qwen3_core.chat.wishes import Thinking
from qwen3_core.families import model_family
from qwen3_core.think_tags import CLOSE_TAG, OPEN_TAG
from qwen3_core.thinking import REASONING_FIELDS, Dialect, dialect_of, is_dashscope_url

Get = Callable[[str], Any]
"""Fetches a URL and returns its JSON, None if it does not answer with any."""

QUESTION = "Which is larger, 9.11 or 9.9? Answer in one short sentence."
DEFAULT_MAX_TOKENS = 512
"""Tokens of each answer: enough for a small model to finish a thought about `QUESTION`."""

_OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp"}  # `owned_by` in their lists of models


@dataclass(frozen=True)
class Identity:
    """What a server is.

    Attributes:
        server: Its word for ``server=``; "auto" if nothing told it apart.
        evidence: What told it.
        models: The names of its models.
    """

    server: str
    evidence: str
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """One question as it was asked and answered.

    Attributes:
        wanted: What was asked for, such as "thinking on".
        sent: The fields that say so in the request body.
        reasoning_in: Where reasoning came back: a field's name, "<think> in the text", or None.
        reasoning: How many characters of it.
        answer: How many characters of answer.
        first_token: Seconds until the first text; None if there was none.
        error: What the server said if it refused.
    """

    wanted: str
    sent: Mapping[str, Any]
    reasoning_in: str | None = None
    reasoning: int = 0
    answer: int = 0
    first_token: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """All that was found; `advice` says what to change.

    Attributes:
        url: The server's URL.
        identity: What it is.
        inferred: The word of the dialect that ``server="auto"`` would use.
        model: The model that was asked.
        family: The model's family, None for a name that says nothing.
        trials: The questions.
        advice: What to do, best first; empty if nothing is wrong.
    """

    url: str
    identity: Identity
    inferred: str
    model: str
    family: str | None
    trials: tuple[Trial, ...]
    advice: tuple[str, ...] = field(default=())


def identify(url: str, get: Get) -> Identity:
    """Find out what a server is, of chat models or others.

    Sources of the marks: `owned_by` in vllm/entrypoints/openai/models, sglang/srt/entrypoints/openai/protocol.py and
    llama.cpp's tools/server; Ollama's and LM Studio's native APIs; xinference/api/restful_api.py;
    transformers/cli/serving/server.py; text-embeddings-inference/router/src/lib.rs.

    Args:
        url: The server's URL, up to and including ``/v1``.
        get: Fetches a URL.
    """
    root = url.rstrip("/").removesuffix("/v1")
    listed = _entries(get(f"{url.rstrip('/')}/models"))
    models = tuple(str(entry["id"]) for entry in listed if "id" in entry)
    if is_dashscope_url(url):
        return Identity("dashscope", "its host", models)
    for entry in listed:
        if server := _OWNERS.get(str(entry.get("owned_by"))):
            return Identity(server, f"its models are owned by {entry['owned_by']!r}", models)
    marks: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
        ("ollama", "/api/version", lambda answer: "version" in answer),
        ("lmstudio", "/api/v0/models", lambda answer: bool(_entries(answer))),
        ("xinference", "/v1/cluster/auth", lambda answer: "auth" in answer),
        ("transformers", "/openapi.json", lambda answer: "/v1/systemone" in answer.get("paths", {})),
        ("tei", "/info", lambda answer: "max_client_batch_size" in answer),
        ("llama.cpp", "/props", lambda answer: "default_generation_settings" in answer),
    )
    for server, path, mark in marks:
        answer = get(root + path)
        if isinstance(answer, Mapping) and mark(answer):
            return Identity(server, f"it answers {path}", models)
    return Identity("auto", "nothing that is known here", models)


def diagnose(
    client: Any, url: str, *, server: str = "auto", model: str | None = None, max_tokens: int = DEFAULT_MAX_TOKENS
) -> Diagnosis:
    """Ask a chat server what it is and how it thinks.

    Args:
        client: An `openai.OpenAI` for the server.
        url: Its URL.
        server: Its word if it is known; "auto" finds out.
        model: The model to ask; default the first that the server lists.
        max_tokens: Tokens of each answer.

    Raises:
        ValueError: No model is named and the server lists none.
        openai.APIConnectionError: The server cannot be reached.
    """
    identity = identify(url, _getter(client))
    if model is None and not identity.models:
        message = f"The chat server at {url} lists no models: name one."
        raise ValueError(message)
    asked = model or identity.models[0]
    dialect = dialect_of(identity.server if server == "auto" else server, url)
    family = model_family(asked)
    wishes = [("thinking on", Thinking(enable_thinking=True)), ("thinking off", Thinking(enable_thinking=False))]
    if family and family.thinks != "switch":
        wishes = [("as it is", Thinking())]
    trials = tuple(_try(client, dialect, asked, wanted, wish, max_tokens) for wanted, wish in wishes)
    inferred = dialect_of("auto", url)
    return Diagnosis(
        url=url,
        identity=identity,
        inferred=inferred.server,
        model=asked,
        family=family.name if family else None,
        trials=trials,
        advice=tuple(_advice(dialect, inferred, trials)),
    )


def _try(client: Any, dialect: Dialect, model: str, wanted: str, wish: Thinking, max_tokens: int) -> Trial:
    import openai

    body = write_thinking(dialect, model, {}, wish)
    messages = [{"role": "user", "content": QUESTION}]
    started = time.perf_counter()
    first: float | None = None
    texts: dict[str, str] = {}
    try:
        chunks = client.chat.completions.create(
            model=model, messages=messages, stream=True, max_tokens=max_tokens, extra_body=body
        )
        for name, piece in _pieces(chunks):
            first = first if first is not None else time.perf_counter() - started
            texts[name] = texts.get(name, "") + piece
    except openai.APIStatusError as error:
        return Trial(wanted, body, error=f"{error.message} {hint_for(error.message, error.status_code)}".strip())
    place, reasoning, answer = _sorted(texts)
    return Trial(wanted, body, place, len(reasoning.strip()), len(answer.strip()), first)


def _pieces(chunks: Any) -> Iterator[tuple[str, str]]:
    """Yield the pieces of a stream with the field that each came in."""
    for chunk in chunks:
        for choice in chunk.choices:
            delta = {**choice.delta.__dict__, **(choice.delta.model_extra or {})}
            for name in (*REASONING_FIELDS, "content"):
                if isinstance(piece := delta.get(name), str) and piece:
                    yield name, piece


def _sorted(texts: Mapping[str, str]) -> tuple[str | None, str, str]:
    """Return where reasoning was, the reasoning and the answer."""
    content = texts.get("content", "")
    for name in REASONING_FIELDS:
        if texts.get(name):
            return name, texts[name], content
    if CLOSE_TAG in content or content.lstrip().startswith(OPEN_TAG):
        inside, _, behind = content.partition(CLOSE_TAG)
        inside = inside.strip().removeprefix(OPEN_TAG).strip()
        return ("<think> in the text" if inside else None), inside, behind.strip()
    return None, "", content


def _advice(dialect: Dialect, inferred: Dialect, trials: Sequence[Trial]) -> Iterator[str]:
    if dialect is not inferred:
        yield f'Pass server="{dialect.server}": from the URL alone it would be taken for "{inferred.server}".'
    by_wish = {trial.wanted: trial for trial in trials}
    on, off = by_wish.get("thinking on"), by_wish.get("thinking off")
    if off and off.reasoning and not off.error:
        yield "Thinking cannot be turned off by a request here; look at how the server was started."
    if on and not on.error and not on.reasoning:
        yield "The model did not think when it was asked to: it may have no thinking, or the server has it turned off."
    if any(trial.reasoning_in == "<think> in the text" for trial in trials):
        yield (
            "The server leaves <think> in the text. That is sorted out here, but other clients would show it: start it "
            "with its reasoning parser (vLLM and SGLang: --reasoning-parser qwen3)."
        )
    for trial in trials:
        if trial.error:
            yield f"With {trial.wanted} the server said: {trial.error}"
        elif not trial.answer:
            yield f"With {trial.wanted} there was no answer within the tokens allowed: raise max_tokens."


def _entries(answer: Any) -> list[Mapping[str, Any]]:
    data = answer.get("data") if isinstance(answer, Mapping) else None
    return [entry for entry in data if isinstance(entry, Mapping)] if isinstance(data, list) else []


def _getter(client: Any) -> Get:
    """Return a function that fetches with the SDK's client, so that key, proxies and certificates are the same."""
    import openai

    once = client.with_options(max_retries=0, timeout=10.0)

    def get(url: str) -> Any:
        try:
            return once.get(url, cast_to=object)
        except openai.APIConnectionError:
            raise
        except (openai.OpenAIError, ValueError):  # another server's page, or none
            return None

    return get
