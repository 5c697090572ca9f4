"""Every string that the Qwen3 retrieval models were trained on, as pure functions.

Sources: the README of ``QwenLM/Qwen3-Embedding`` (revision f4ad0c4) for the query format and the default task,
and the *transformers* recipe of the ``Qwen/Qwen3-Reranker-0.6B`` card for the rerank prompt. The card's vLLM
recipe separates the fields with blank lines and ranks differently; the checkpoints' own chat template agrees
with the transformers recipe, so that is the one written here.
"""

import re

DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
"""The task both model cards use when none is given; there is no full stop at its end."""

END_OF_TEXT = "<|endoftext|>"
"""The token whose last hidden state is the embedding; also the padding token."""

RERANK_PREFIX = (
    "<|im_start|>system\n"
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
RERANK_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

RERANK_TRUE_TOKEN = "yes"  # noqa: S105 - a vocabulary entry, not a credential
RERANK_FALSE_TOKEN = "no"  # noqa: S105


def query_opening(instruction: str = DEFAULT_INSTRUCTION) -> str:
    """Return what the text of every query of an instruction begins with.

    The colon behind it is left out: the tokenizer takes it together with the letters that follow.
    """
    return f"Instruct: {instruction}\nQuery"


def format_query(query: str, instruction: str = DEFAULT_INSTRUCTION) -> str:
    """Return the text that an embedding model expects for a query.

    There is no space after ``Query:``; with one, the first word has other token ids. Documents are embedded
    as they are, so there is no function for them.
    """
    return f"{query_opening(instruction)}:{query}"


def rerank_opening(instruction: str = DEFAULT_INSTRUCTION) -> str:
    """Return what the rerank bodies of all queries of an instruction begin with."""
    return f"<Instruct>: {instruction}\n<Query>:"


def format_rerank_head(query: str, instruction: str = DEFAULT_INSTRUCTION) -> str:
    """Return the part of the rerank body that comes before the document and is the same for every document."""
    return f"{rerank_opening(instruction)} {query}\n<Document>:"


def format_rerank_document(document: str) -> str:
    r"""Return the part of the rerank body that the document adds to `format_rerank_head`.

    The cut is before the space on purpose: Qwen's pre-tokenizer always starts a new piece there, so the two
    parts tokenised apart give the ids of the whole. A cut after the space, or between the fields, does not
    (``?\\n`` at the end of a query is one token).
    """
    return f" {document}"


def format_rerank_body(query: str, document: str, instruction: str = DEFAULT_INSTRUCTION) -> str:
    """Return the user turn of the rerank prompt: instruction, query and document."""
    return format_rerank_head(query, instruction) + format_rerank_document(document)


THINKING_STOP = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now."
)
"""What ends the reasoning when its budget is spent, before ``\\n</think>\\n\\n``.

Source: QwenLM/Qwen3, ``docs/source/getting_started/thinking_budget.md``.
"""

# The added tokens of Qwen3's tokenizer (tokenizer.json), and with it those of every ChatML model.
_CONTROL_TOKEN = re.compile(r"<(?=\|[a-z_]+\|>|/?(?:think|tool_call|tool_response)>)")


def escape_control_tokens(text: str) -> str:
    """Break the control tokens in a text that a server will tokenise, with a zero-width space after the ``<``.

    For places where ids cannot be sent and the server's template parses whatever the text says. The text looks
    the same to a reader. Where this package tokenises itself, it needs no change of the text.
    """
    return _CONTROL_TOKEN.sub("<\u200b", text)
