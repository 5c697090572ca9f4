"""Products with a layer's weights, each with what follows it: SiLU, a product, a sum.

On a CPU oneDNN does both in one go, on weights in the layout that its kernels read. torch reaches it through the
operators that its own compiler uses (``torch.ops.mkldnn``, ``torch.ops.onednn``): no public interface, so each kind is
tried on small numbers before it is used. With 1,024 tokens of Qwen3-0.6B the packed products and what is fused to them
run at 0.97 of the bare products' speed in bfloat16, and at 2.3 times the speed of torch's own float32 products (two
cores of an AMD Zen 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch.nn.functional import linear, silu

from qwen3_core.base import Quantization

_UNSIGNED_ZERO = 128
"""What stands for 0 in 8 bits without a sign, which AVX512-VNNI multiplies with 8 bits with a sign."""

_LEVELS = 127.0

_BALANCE = 0.7
"""Exponents from 0.5 to 1 are about as good with trained weights. Without it vectors lose 0.053 of their cosine, with
it 0.013, and 0.006 where values are exact as well (`Int8Linear.of_values`)."""

_TINY = torch.finfo(torch.float32).tiny


class Linear:
    """``x @ weight.T`` as torch does it.

    Args:
        weight: (outputs, inputs).
    """

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight

    @classmethod
    def of_values(cls, weight: torch.Tensor) -> Linear:
        """Return the products that give the values of attention."""
        return cls(weight)

    @classmethod
    def of_last_attention(cls, weight: torch.Tensor) -> Linear:
        """Return the products that give the queries and keys of a network's last layer."""
        return cls(weight)

    @staticmethod
    def residual_dtype(dtype: torch.dtype) -> torch.dtype:
        """Return what the residual stream of a network is kept in, whose weights are in `dtype`."""
        return dtype

    @staticmethod
    def balance(*weights: torch.Tensor) -> torch.Tensor | None:  # noqa: ARG004 - for kinds that round
        """Return by what inputs are best multiplied, and the weights divided, before both are rounded.

        Args:
            weights: All that share the inputs, (outputs, inputs) each.

        Returns:
            (inputs,), float32; None where it makes no difference.
        """
        return None

    @staticmethod
    def scaled(x: torch.Tensor, scale: torch.Tensor | None = None, channels: torch.Tensor | None = None) -> Any:  # noqa: ARG004
        """Return ``x * scale * channels`` as the products want it; several weights may share it.

        Args:
            x: (tokens, inputs).
            scale: (tokens, 1), float32; None is 1.
            channels: What `balance` returned for the weights.
        """
        return x if scale is None else torch.mul(x, scale, out=torch.empty_like(x))

    def __call__(self, x: Any) -> torch.Tensor:
        """Return the product, (tokens, outputs)."""
        return linear(x, self.weight)

    def silu(self, x: Any) -> torch.Tensor:
        """Return the product through SiLU."""
        return silu(self(x), inplace=True)

    def times(self, x: Any, other: torch.Tensor) -> Any:
        """Return the product times `other`, element by element, as the next product wants it (`scaled`)."""
        return self.scaled(self(x).mul_(other))

    def plus(self, x: Any, other: torch.Tensor) -> torch.Tensor:
        """Return the product plus `other`."""
        return self(x).add_(other)


class PackedLinear(Linear):
    """The same through oneDNN, for bfloat16 and float32 on a CPU.

    Args:
        weight: (outputs, inputs); a copy in oneDNN's layout is kept.
    """

    TOKENS: ClassVar = 512  # that the layout is chosen for; all numbers of tokens work

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), self.TOKENS))

    def __call__(self, x: Any) -> torch.Tensor:
        """Return the product, (tokens, outputs)."""
        return self._pointwise(x, "none")

    def silu(self, x: Any) -> torch.Tensor:
        """Return the product through SiLU."""
        return self._pointwise(x, "swish")

    def times(self, x: Any, other: torch.Tensor) -> Any:
        """Return the product times `other`; see `Linear.times`."""
        return self.scaled(self._binary(x, other, "mul"))

    def plus(self, x: Any, other: torch.Tensor) -> torch.Tensor:
        """Return the product plus `other`."""
        return self._binary(x, other, "add")

    def _pointwise(self, x: torch.Tensor, then: str) -> torch.Tensor:
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, None, then, [], "")
        return found

    def _binary(self, x: torch.Tensor, other: torch.Tensor, then: str) -> torch.Tensor:
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, None, then)
        return found


@dataclass(frozen=True)
class _Rounded:
    """Activations in 8 bits: ``(values - 128) * scales``."""

    values: torch.Tensor  # (tokens, inputs), uint8
    scales: torch.Tensor  # (tokens, 1), float32


class Int8Linear(Linear):
    """Products of 8-bit integers: a scale for each output of the weights, and one for each token of the activations.

    Results are float32: that is what the kernel sums to, and what the next rounding starts from.

    Args:
        weight: (outputs, inputs).
    """

    def __init__(self, weight: torch.Tensor) -> None:
        exact = weight.float()
        scales = (exact.abs().amax(dim=1) / _LEVELS).clamp_min(_TINY)
        rounded = torch.round(exact / scales[:, None]).to(torch.int8)
        super().__init__(torch.ops.onednn.qlinear_prepack(rounded, None))
        self._scales, self._zeros = scales, torch.zeros(len(scales), dtype=torch.int64)

    @classmethod
    def of_values(cls, weight: torch.Tensor) -> Linear:
        """Return products in the weights' own number format.

        With trained weights half of all the error came from here (benchmarks/precision.md), with 7 % of the products.
        """
        return PackedLinear(weight) if _works(PackedLinear, weight.dtype) else Linear(weight)

    @classmethod
    def of_last_attention(cls, weight: torch.Tensor) -> Linear:
        """Return products in float32.

        What the last token looks at decides the result, and rounding there costs most: 8 bits in this one place made
        most of the error of the mini reranker's scores (1.4 in the logit, and 0.2 without).
        """
        return cls.of_values(weight.float())

    @staticmethod
    def residual_dtype(dtype: torch.dtype) -> torch.dtype:  # noqa: ARG004 - as the base has it
        """Return float32: see the class."""
        return torch.float32

    @staticmethod
    def balance(*weights: torch.Tensor) -> torch.Tensor:
        """Return how large the weights of each input are, to a power.

        Trained networks have a few channels that are a hundred times as large as the others, and small weights behind
        them, norm weights above all. Rounded as they are they would set the step of all the others. The power shares
        the burden between inputs and weights, as SmoothQuant does with calibration (arXiv 2211.10438).
        """
        squares = torch.cat([weight.float().square() for weight in weights]).mean(0)
        return squares.clamp_min(_TINY).pow_(_BALANCE / 2)

    @staticmethod
    def scaled(x: torch.Tensor, scale: torch.Tensor | None = None, channels: torch.Tensor | None = None) -> Any:
        """Return ``x * scale * channels`` in 8 bits; see `Linear.scaled`."""
        exact = x.float() if channels is None else torch.mul(x, channels)
        # In two passes, because torch's norms and `aminmax` take ten times as long along the last dimension (2.13).
        largest = torch.maximum(exact.amax(-1, keepdim=True), exact.amin(-1, keepdim=True).neg_())
        steps = (largest / _LEVELS).clamp_min_(_TINY)
        signed = torch.mul(exact, steps.reciprocal()).round_().to(torch.int8)  # to uint8 is five times as slow
        values = signed.view(torch.uint8).bitwise_xor_(_UNSIGNED_ZERO)
        return _Rounded(values, steps if scale is None else steps * scale)

    def __call__(self, x: Any) -> torch.Tensor:
        """Return the product, (tokens, outputs)."""
        return self._product(x).mul_(x.scales)

    def times(self, x: Any, other: torch.Tensor) -> Any:
        """Return the product times `other` in 8 bits; see `Linear.times`."""
        return self.scaled(self._product(x).mul_(other), x.scales)  # a token's scale makes no difference to its 8 bits

    def plus(self, x: Any, other: torch.Tensor) -> torch.Tensor:
        """Return the product plus `other`."""
        return torch.addcmul(other, self._product(x), x.scales)

    def _product(self, x: _Rounded) -> torch.Tensor:
        found: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            *(x.values, 1.0, _UNSIGNED_ZERO),
            *(self.weight, self._scales, self._zeros, None),
            *(1.0, 0, torch.float32),
            *("none", [], ""),
        )
        return found


def linear_kind(device: torch.device, dtype: torch.dtype, quantization: Quantization | None = None) -> type[Linear]:
    """Return the fastest kind of products that works here.

    Args:
        device: Where they are computed.
        dtype: The number format of weights and activations.
        quantization: "int8" on a CPU; None keeps the numbers as they are.

    Raises:
        ValueError: `quantization` is unknown, or does not work here.
    """
    on_cpu = device.type == "cpu"
    if quantization is None:
        return PackedLinear if on_cpu and dtype != torch.float16 and _works(PackedLinear, dtype) else Linear
    if quantization != "int8":
        msg = f"quantization={quantization!r} is unknown: leave it out, or pass 'int8'"
        raise ValueError(msg)
    if not (on_cpu and _works(Int8Linear, dtype)):
        where = "torch's 8-bit kernels do not work on this CPU" if on_cpu else f"it is for CPUs, and this is {device}"
        msg = f"quantization='int8' is not possible here: {where}. Leave it out."
        raise ValueError(msg)
    return Int8Linear


@cache
def _works(kind: type[Linear], dtype: torch.dtype) -> bool:
    """Try a kind on small numbers, since its operators are no public interface of torch."""
    with torch.inference_mode():
        x = torch.linspace(-1, 1, 128).view(4, 32).to(dtype)
        weight = torch.linspace(1, -2, 512).view(16, 32).sin().to(dtype)
        expected = linear(x.float(), weight.float())
        try:
            made = kind(weight)
            rounded = kind.scaled(x)
            found = [made(rounded), made.plus(rounded, expected.to(kind.residual_dtype(dtype))).float() - expected]
        except (AttributeError, NotImplementedError, RuntimeError):
            return False
        # Wrong layouts and missing kernels are off by as much as the numbers are large; rounding is not.
        close = 0.02 * float(expected.abs().max())
        return all(torch.allclose(each.float(), expected, atol=close) for each in found)
