"""The named instructions: letter by letter those that the models were evaluated with."""

from __future__ import annotations

import pytest

from qwen3_core.instructions import INSTRUCTIONS, find_instruction
from qwen3_core.prompts import DEFAULT_INSTRUCTION


def test_sentences_are_those_of_the_authors() -> None:
    # evaluation/task_prompts.json of QwenLM/Qwen3-Embedding: MSMARCO, CosQA, MLQARetrieval, STS12, Tatoeba.
    assert INSTRUCTIONS["web-search"] == DEFAULT_INSTRUCTION
    assert INSTRUCTIONS["code"] == (
        "Given a question about coding, retrieval code or passage that can solve user's question"
    )
    assert INSTRUCTIONS["cross-lingual"] == "Retrieval the relevant passage for the given query"
    assert INSTRUCTIONS["similarity"] == "Retrieve semantically similar text"
    assert INSTRUCTIONS["translation"] == "Retrieve parallel sentences"
    assert all(text.isascii() and text == text.strip() for text in INSTRUCTIONS.values())


def test_a_name_or_a_sentence() -> None:
    assert find_instruction(" code ") == INSTRUCTIONS["code"]
    assert find_instruction("Given a part number, find its page\n") == "Given a part number, find its page"


@pytest.mark.parametrize("slip", ["cod", "Web-Search", "", "  "])
def test_a_slip_in_a_name_is_no_instruction(slip: str) -> None:
    with pytest.raises(ValueError, match=r"is no instruction: write a sentence, or one of web-search, .*code"):
        find_instruction(slip)


def test_names_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        INSTRUCTIONS["code"] = "another"  # type: ignore[index]
