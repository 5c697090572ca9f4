"""Teaches the tests' chat model its conversations: ``python tests/chat_training.py``, about ten minutes.

Needed again only where `chat_conversations.py` or the architecture in `chat_checkpoint.py` changes;
`test_chat_checkpoint.py` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log
from random import Random
from typing import Any

from chat_checkpoint import LEARNT, SURE, chat_tokenizer, untaught, with_weights
from chat_conversations import STOP_PHRASE, Example, Scribe

_STEPS, _EXAMPLES, _RATE, _WARM_UP = 3000, 12, 3e-3, 100
_NOISE = 0.3
_CUT = 0.5  # how often a long thought is cut short in training
_LONG, _LEAST = 15, 6  # tokens: thoughts that are long, and what is left of one at least
# How a budget ends: with or without the official phrase, as llama.cpp forces it and as the documentation writes it.
_ENDS = ("</think>", "\n</think>\n\n", STOP_PHRASE + "</think>", STOP_PHRASE + "\n</think>\n\n")

_Ids = tuple[list[int], list[int]]  # what is there, and what comes next


class Lessons:
    """Everything that the model has to know, as token ids."""

    def __init__(self, tokenizer: Any, random: Random, noise: float = 0.0) -> None:
        self._tokenizer, self._random = tokenizer, random
        self._scribe = Scribe(tokenizer, random, noise)
        self._close = tokenizer.convert_tokens_to_ids("</think>")

    def all(self, *, cut: float = 0.0) -> Iterator[_Ids]:
        """Yield each lesson once, in new words; ``cut`` is how often a long thought is ended by a budget, 0 to 1."""
        for thinking in (True, False):
            for example in self._scribe.examples(thinking=thinking):
                yield self._encode(example, cut=self._random.random() < cut)

    def _encode(self, example: Example, *, cut: bool) -> _Ids:
        there, rest = ([*self._ids(text)] for text in (example.prompt, example.rest))
        closing = rest.index(self._close) if self._close in rest else 0
        if cut and closing >= _LONG:
            end = self._ids(self._random.choice(_ENDS))
            there += rest[: self._random.randint(_LEAST, closing)] + end
            rest = rest[closing + (1 if end[-1] == self._close else 2) :]
        return there, rest

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text).input_ids
        return ids


def least_sure(model: Any, pairs: Sequence[_Ids]) -> list[float]:
    """Return for each lesson the probability of the least certain token that is to be written."""
    import torch

    with torch.no_grad():
        found = []
        for there, rest in pairs:
            logits = model(input_ids=torch.tensor([there + rest])).logits[0, len(there) - 1 : -1]
            found.append(float(logits.softmax(-1).gather(1, torch.tensor(rest)[:, None]).min()))
    return found


class _School:
    """Trains the layers, and of the output weights only the rows of tokens that are ever written.

    All other rows stay zero, so that their part in the softmax is known without computing it.
    """

    def __init__(self, tokenizer: Any, seed: int) -> None:
        import torch

        torch.manual_seed(seed)
        self._random = Random(seed)
        self._lessons = Lessons(tokenizer, self._random, _NOISE)
        self.model = untaught(tokenizer)
        for frozen in (self.model.model.embed_tokens, self.model.lm_head):
            frozen.requires_grad_(requires_grad=False)
        self._known = sorted({token for _, rest in Lessons(tokenizer, Random(0)).all() for token in rest})
        self._row = torch.zeros(len(tokenizer), dtype=torch.long)
        self._row[self._known] = torch.arange(len(self._known))
        self._head = torch.nn.Parameter(torch.randn(len(self._known), self.model.config.hidden_size) * 0.05)
        self._others = log(len(tokenizer) - len(self._known))

    def teach(self) -> None:
        import torch

        learning = [self._head, *(weight for weight in self.model.parameters() if weight.requires_grad)]
        optimizer = torch.optim.AdamW(learning, betas=(0.9, 0.98), weight_decay=0.0)
        for step in range(_STEPS):
            pairs = self._random.sample(list(self._lessons.all(cut=_CUT)), _EXAMPLES)
            pairs.sort(key=lambda pair: len(pair[0]) + len(pair[1]))  # little padding
            total = sum(len(rest) for _, rest in pairs)
            heard = 0.0
            for start in range(0, len(pairs), 4):
                logits, rows = self._read(pairs[start : start + 4])
                loss: Any = torch.nn.functional.cross_entropy(logits, rows, reduction="sum") / total
                loss.backward()
                heard += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            for group in optimizer.param_groups:
                group["lr"] = _RATE * min(1, (step + 1) / _WARM_UP) * max(0.01, 1 - step / _STEPS)
            optimizer.step()
            optimizer.zero_grad()
            if step % 100 == 0:
                print(f"step {step} of {_STEPS}: loss {heard:.4f}", flush=True)

    def learnt(self) -> dict[str, Any]:
        import torch

        layers = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        learnt = {name: weight.detach().half() for name, weight in [*layers.items(), ("head", self._head)]}
        return {**learnt, "known": torch.tensor(self._known)}

    def _read(self, pairs: Sequence[_Ids]) -> tuple[Any, Any]:
        """Return the logits where something is to be written, all tokens that never are as one, and the right rows."""
        import torch

        longest = max(len(there) + len(rest) for there, rest in pairs)
        ids = torch.zeros(len(pairs), longest, dtype=torch.long)  # padding behind is not seen by what is before it
        asked = torch.zeros(len(pairs), longest, dtype=torch.bool)
        for index, (there, rest) in enumerate(pairs):
            ids[index, : len(there) + len(rest)] = torch.tensor(there + rest)
            asked[index, len(there) - 1 : len(there) + len(rest) - 1] = True
        hidden = self.model.model(input_ids=ids, use_cache=False).last_hidden_state[asked]
        others = torch.full((len(hidden), 1), self._others)
        return torch.cat([hidden @ self._head.T, others], 1), self._row[ids.roll(-1, 1)[asked]]


def main() -> None:
    """Train, say how sure the model is, and write what it has learnt."""
    from safetensors.torch import save_file

    tokenizer = chat_tokenizer()
    school = _School(tokenizer, seed=1)
    school.teach()
    model = with_weights(untaught(tokenizer), school.learnt())
    for noise, cut in ((0.0, 0.0), (0.0, 1.0), (_NOISE, 0.0)):
        lessons = Lessons(tokenizer, Random(7), noise)
        sure = least_sure(model, [pair for _ in range(20) for pair in lessons.all(cut=cut)])
        count = sum(each >= SURE for each in sure)
        print(f"noise {noise}, cut {cut}: sure of {count} of {len(sure)}, least {min(sure):.3f}")
    save_file(school.learnt(), LEARNT)


if __name__ == "__main__":
    main()
