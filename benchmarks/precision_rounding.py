"""The mini reranker in float32 but for rounding to bfloat16 in one place at a time, for `precision`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Set
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from precision_mini import Orders, scores

from qwen3_core import LocalReranker, engine
from qwen3_core.engine import attention
from qwen3_core.engine.linear import Linear


class Rounding(Linear):
    """Products in float32 that round to bfloat16 in chosen places."""

    places: ClassVar[Set[str]] = frozenset()

    @classmethod
    def at(cls, place: str, x: torch.Tensor) -> torch.Tensor:
        """Round if it is one of the places."""
        return x.bfloat16().float() if place in cls.places else x

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(self.at("weights, norms folded in", weight))

    @classmethod
    def scaled(  # noqa: D102
        cls, x: torch.Tensor, scale: torch.Tensor | None = None, channels: torch.Tensor | None = None
    ) -> Any:
        return cls.at("inputs of products", Linear.scaled(x, scale, channels))

    def __call__(self, x: Any) -> torch.Tensor:  # noqa: D102
        return self.at("queries, keys and values from their products", super().__call__(x))

    def silu(self, x: Any) -> torch.Tensor:  # noqa: D102
        return self.at("gate and up", torch.nn.functional.silu(Linear.__call__(self, x)))

    def times(self, x: Any, other: torch.Tensor) -> Any:  # noqa: D102
        return self.scaled(self.at("gate and up", Linear.__call__(self, x) * other))

    def plus(self, x: Any, other: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return self.at("residual sums", Linear.__call__(self, x) + other)


PLACES = (
    *("weights, norms folded in", "inputs of products", "queries, keys and values from their products"),
    *("gate and up", "residual sums", "queries and keys, normalised and turned"),
    *("scores of attention", "probabilities of attention"),
)


@contextlib.contextmanager
def rounding(*chosen: str) -> Iterator[None]:
    """Let models that are loaded and used meanwhile round in these places."""

    class kind(Rounding):  # noqa: N801 - a value here
        places: ClassVar[Set[str]] = frozenset(chosen)

    product, softmax = attention._product, torch.softmax

    def rounded_product(queries: torch.Tensor, keys: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        turned = (kind.at("queries and keys, normalised and turned", each) for each in (queries, keys))
        found: torch.Tensor = product(*turned, *rest, **options)
        return found

    def rounded_softmax(x: torch.Tensor, dim: int) -> torch.Tensor:
        return kind.at("probabilities of attention", softmax(kind.at("scores of attention", x), dim=dim))

    with (
        patch.object(engine, "linear_kind", lambda *_: kind),
        patch.object(attention, "_product", rounded_product),
        patch.object(torch, "softmax", rounded_softmax),
    ):
        yield


def rounded_scores(queries: list[str], candidates: list[list[str]]) -> dict[str, Orders]:
    """Score with rounding in each place, by its name, and in all of them."""
    found = {}
    for name, places in {**{place: (place,) for place in PLACES}, "all of these": PLACES}.items():
        with rounding(*places):
            found[name] = scores(LocalReranker("mini", dtype="float32"), queries, candidates)
    return found
