"""The texts around what a user wrote: Qwen3-Reranker's prompt and Qwen3-Embedding's.

Source: the model cards and ``examples/`` of QwenLM/Qwen3-Embedding; the prompt is the one of the transformers recipe,
which the native template renders byte for byte (shared fact sheet §1).
"""

import re

JUDGE = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
PREFIX = f"<|im_start|>system\n{JUDGE}<|im_end|>\n<|im_start|>user\n"
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCT = "Given a web search query, retrieve relevant passages that answer the query"

# Both spacings between the fields are official (fact sheet §1, "contradictions").
PROMPT = re.compile(
    re.escape(PREFIX)
    + r"<Instruct>: (?P<instruct>.*?)\n{1,2}<Query>: (?P<query>.*?)\n{1,2}<Document>: (?P<document>.*)"
    + re.escape(SUFFIX),
    re.DOTALL,
)
_QUERY_TEXT = re.compile(r"Instruct: (?P<task>.*?)\nQuery:(?P<query>.*)", re.DOTALL)
_FIELDS = (
    re.compile(r"<Query>: (.*?)\n*(?:<Document>: |\Z)", re.DOTALL),
    re.compile(r"<Document>: (.*?)(?:" + re.escape(SUFFIX) + r"|\Z)", re.DOTALL),
)


def rendered(query: str, document: str, instruct: str | None = None) -> str:
    """Return the prompt for a pair."""
    body = f"<Instruct>: {instruct or INSTRUCT}\n<Query>: {query}\n<Document>: {document}"
    return PREFIX + body + SUFFIX


def split_query(text: str) -> tuple[str, str]:
    """Return the task and the query of an embedding model's text; no task for a document."""
    found = _QUERY_TEXT.fullmatch(text)
    return (found["task"], found["query"]) if found else ("", text)


def parts_of(text: str) -> set[str]:
    """Return a text and what of it a user wrote, whoever put a template around it."""
    found = {text, split_query(text)[1].removeprefix(" ")}
    for field in _FIELDS:
        found.update(field.findall(text))
    return found
