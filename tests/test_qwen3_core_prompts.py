"""Prompt strings against the genuine vocabulary, id by id.

The lists come from the official tokenizer under transformers; each is what the recipe on the model card gives.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from qwen3_core import prompts
from qwen3_core.tokens import TextTokenizer

# fmt: off
PREFIX = [151644, 8948, 198, 60256, 3425, 279, 11789, 20027, 279, 8502, 3118, 389, 279, 11361, 323, 279, 758, 1235,
          3897, 13, 7036, 429, 279, 4226, 646, 1172, 387, 330, 9693, 1, 476, 330, 2152, 3263, 151645, 198, 151644,
          872, 198]
SUFFIX = [151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271]
BODY = [27, 641, 1235, 26818, 16246, 264, 3482, 2711, 3239, 11, 17179, 9760, 46769, 429, 4226, 279, 3239, 198, 27,
        2859, 26818, 3555, 374, 279, 6722, 315, 5616, 5267, 75692, 26818, 576, 6722, 315, 5616, 374, 26549, 13]
QUERY = [641, 1235, 25, 16246, 264, 3482, 2711, 3239, 11, 17179, 9760, 46769, 429, 4226, 279, 3239, 198, 2859, 25,
         3838, 374, 279, 6722, 315, 5616, 30]
# fmt: on
QUESTION = "What is the capital of China?"
DOCUMENT = "The capital of China is Beijing."


@pytest.fixture(scope="module")
def tokenizer(qwen3_tokenizer_folder: Path) -> TextTokenizer:
    return TextTokenizer(AutoTokenizer.from_pretrained(qwen3_tokenizer_folder))


def test_vocabulary_is_the_genuine_one(qwen3_tokenizer_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(qwen3_tokenizer_folder)
    assert len(tokenizer) == 151669
    expected = {
        "yes": 9693, "no": 2152, "Yes": 9454, "No": 2753, " yes": 9834, " no": 902, "\n": 198, "\n\n": 271,
        "<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<think>": 151667, "</think>": 151668,
    }  # fmt: skip
    assert {text: tokenizer.encode(text) for text in expected} == {text: [id_] for text, id_ in expected.items()}
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (151643, 151645)


def test_rerank_prefix_and_suffix(tokenizer: TextTokenizer) -> None:
    assert len(PREFIX) == 39
    assert tokenizer.control(prompts.RERANK_PREFIX) == PREFIX
    assert tokenizer.control(prompts.RERANK_SUFFIX) == SUFFIX


def test_rerank_body(tokenizer: TextTokenizer) -> None:
    body = prompts.format_rerank_body(QUESTION, DOCUMENT)
    assert tokenizer.data(body) == BODY
    whole = prompts.RERANK_PREFIX + body + prompts.RERANK_SUFFIX
    assert tokenizer.control(whole) == PREFIX + BODY + SUFFIX
    assert len(PREFIX + BODY + SUFFIX) == 85


def test_blank_lines_between_the_fields_give_other_ids_of_the_same_number(tokenizer: TextTokenizer) -> None:
    variant = tokenizer.data(prompts.format_rerank_body(QUESTION, DOCUMENT).replace("\n", "\n\n"))
    assert len(variant) == len(BODY)
    assert variant != BODY


def test_head_and_document_apart_are_the_ids_of_the_whole(tokenizer: TextTokenizer) -> None:
    head = tokenizer.data(prompts.format_rerank_head(QUESTION))
    assert head + tokenizer.data(prompts.format_rerank_document(DOCUMENT)) == BODY


def test_cutting_between_the_fields_would_not_be(tokenizer: TextTokenizer) -> None:
    joined = tokenizer.data(f"<Query>: {QUESTION}\n<Document>: x")
    apart = tokenizer.data(f"<Query>: {QUESTION}") + tokenizer.data("\n<Document>: x")
    assert joined[-4:] == [5267, 75692, 26818, 856]
    assert apart[-5:] == [30, 198, 75692, 26818, 856]


def test_embedding_query(tokenizer: TextTokenizer) -> None:
    assert tokenizer.data(prompts.format_query(QUESTION)) == QUERY
    assert tokenizer.data(prompts.format_query("")) == QUERY[:19]
    spaced = tokenizer.data(prompts.format_query(" " + QUESTION))
    assert (len(spaced), spaced[19], QUERY[19]) == (26, 3555, 3838)


def test_embedding_document_is_raw(tokenizer: TextTokenizer) -> None:
    assert tokenizer.data(DOCUMENT) == [785, 6722, 315, 5616, 374, 26549, 13]


def test_composed_and_decomposed_letters_are_one(tokenizer: TextTokenizer) -> None:
    assert tokenizer.data("e\u0301") == tokenizer.data("é")


def test_the_text_that_overflows_float16(tokenizer: TextTokenizer) -> None:
    assert tokenizer.data("importance of trees")[:2] == [474, 681]


def test_pieces_of_the_thinking_budget_phrase(tokenizer: TextTokenizer) -> None:
    phrase = (
        "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now."
    )
    ids = tokenizer.data(phrase)
    assert (len(ids), ids[:4], ids[-1]) == (22, [271, 82796, 279, 7199], 13)
