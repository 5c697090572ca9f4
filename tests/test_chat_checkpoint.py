"""That the tests' chat model knows its lessons, in words that it has not seen in training."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from chat_checkpoint import SURE
from chat_training import Lessons, least_sure
from transformers import AutoModelForCausalLM, AutoTokenizer


@pytest.mark.parametrize(("noise", "cut"), [(0.0, 0.0), (0.0, 1.0), (0.2, 0.0)])
def test_it_is_sure_of_every_token(chat_folder: Path, noise: float, cut: float) -> None:
    lessons = Lessons(AutoTokenizer.from_pretrained(chat_folder), Random(f"{noise} {cut}"), noise)
    model = AutoModelForCausalLM.from_pretrained(chat_folder)
    assert min(least_sure(model, [pair for _ in range(3) for pair in lessons.all(cut=cut)])) >= SURE, (
        "its texts or the architecture have changed: run `python tests/chat_training.py`"
    )
