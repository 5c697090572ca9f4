"""Texts on their way to a server that tokenises them itself: no control tokens, and no longer than it takes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from qwen3_core.prompts import escape_control_tokens
from qwen3_core.token_count import count_tokens, find_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Truncation = Literal["error", "end"]
"""What happens to a text that is too long: an error that names it, or its end is cut."""

_ESTIMATE = 4 / 3
"""An estimate of `count_tokens` is within a third of the truth, so that a limit divided by this one holds."""


def plain(text: str) -> str:
    """Return a text as it may be sent: control tokens broken up, halves of characters replaced, composed (NFC).

    Servers parse control tokens in whatever they are given, so ``<|im_end|>`` in a document would end the turn. JSON
    cannot hold half a surrogate pair, which broken JSON of others leaves behind. Qwen3's tokenizer composes characters
    (``tokenizer.json``, normalizer NFC) and llama.cpp's does not, which gives other vectors for "e" with an accent.
    """
    whole = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    return escape_control_tokens(whole)


@dataclass(frozen=True)
class Ruler:
    """Measures texts, exactly where the model's tokenizer is on this machine.

    Attributes:
        tokenizer: A folder, file or hub name of the model's tokenizer; None looks for the model's in the local cache.
        model: The model's name.
    """

    tokenizer: str | None
    model: str

    def count(self, text: str) -> int:
        """Return the number of tokens, at most a third too many or too few where it is an estimate."""
        return count_tokens(text, tokenizer=self.tokenizer, model=self.model)

    def counts_safely(self, text: str) -> int:
        """Return a number of tokens that the text does not exceed, other than by rare accident."""
        exact = self._found() is not None
        return self.count(text) if exact else int(self.count(text) * _ESTIMATE)

    def costs(self, texts: Sequence[str], rows: int, tokens: int) -> list[int]:
        """Return tokens of texts, never too few, for batches of ``rows`` texts and ``tokens`` tokens.

        A token has a byte at least. So texts that have few bytes need not be counted: a batch is full of rows before it
        is full of them.
        """
        sizes = [len(text.encode()) for text in texts]
        return [
            size if size <= tokens // rows else self.counts_safely(text)
            for text, size in zip(texts, sizes, strict=True)
        ]

    def fit(self, text: str, limit: int, truncation: Truncation, *, name: str, is_final: bool) -> str:
        """Return a text of ``limit`` tokens at most.

        Args:
            text: The text.
            limit: Tokens that it may have.
            truncation: What to do if it has more.
            name: What it is called in an error, such as "text 3".
            is_final: Whether nobody behind this would notice a text that is too long.

        Raises:
            ValueError: It is longer and ``truncation`` is "error". Where its length is an estimate, that means for
                certain, or perhaps if ``is_final``.
        """
        if len(text.encode()) <= limit:
            return text
        found = self._found()
        if truncation == "end":
            return self._cut(text, limit, found)
        count = self.count(text)
        if count > (limit if found or is_final else limit * _ESTIMATE):
            message = (
                f"{name} has {'' if found else 'about '}{count:,} tokens, and {limit:,} is the limit: split it, raise "
                'max_length if the server takes more, or let its end be cut with truncation="end". It begins '
                f"{text[:60]!r}. Nothing was sent"
            )
            raise ValueError(message)
        return text

    def _cut(self, text: str, limit: int, found: Tokenizer | None) -> str:
        """Cut the end of a text, in front of the first token that is too many."""
        if found is not None:
            whole = text.encode("utf-8", "replace").decode()
            offsets = found.encode(whole, add_special_tokens=False).offsets
            return whole if len(offsets) <= limit else whole[: offsets[limit][0]]
        while text and self.counts_safely(text) > limit:
            # The estimate is not proportional where the kinds of characters change, hence again until it fits.
            text = text[: min(len(text) - 1, int(len(text) * limit / self.counts_safely(text)))]
        return text

    def _found(self) -> Tokenizer | None:
        return find_tokenizer(self.tokenizer, model=self.model)
