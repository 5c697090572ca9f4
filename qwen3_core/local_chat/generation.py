"""The forward passes of a chat model, one step at a time, and the choice of each token.

torch and transformers are imported inside the functions. `torch.inference_mode` is entered for each step and never
held between steps: it belongs to a thread, and a generator may be read from several.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen3_core.base import DType
from qwen3_core.families import Sampling

if TYPE_CHECKING:
    from torch import Tensor

# What transformers' AutoModelForCausalLM calls the chat models of Qwen's third generation.
_ARCHITECTURES = (
    "qwen3", "qwen3_moe", "qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text",
)  # fmt: skip

_PORTION = 512
"""Prompt tokens of one forward pass: a cancelled call stops behind it, and attention needs memory for it."""


class Network:
    """A causal language model that is ready to read.

    Args:
        folder: A local folder with ``config.json`` and safetensors files.
        device: A torch device; None takes CUDA, then MPS, then the CPU.
        dtype: See `qwen3_core.checkpoint.load_model`.

    Raises:
        FileNotFoundError: If the folder has no weights.
        ValueError: If the architecture is not a chat model of Qwen3, or weights of the model are missing.
    """

    def __init__(self, folder: Path, *, device: str | None = None, dtype: DType = "auto") -> None:
        self._model = _load(folder, device, dtype)
        config = self._model.config.get_text_config()
        self.window: int = config.max_position_embeddings
        """Prompt and answer together, in tokens."""
        ends = self._model.generation_config.eos_token_id
        self.ends: set[int] = set(ends) if isinstance(ends, list) else {ends} - {None}
        """The ids after which the checkpoint says that nothing comes."""
        # Linear attention (Qwen3-Next, Qwen3.5) goes on from a state one token at a time in every version.
        self._recurrent = "linear_attention" in (getattr(config, "layer_types", None) or ())

    def read(self, ids: Sequence[int], cache: Any) -> tuple[Tensor, Any]:
        """Read on where a cache ends.

        Args:
            ids: At least one token id.
            cache: What the last call returned; None at the start.

        Returns:
            The float32 scores of every token to come next, on the CPU, and the cache with these ids in it.
        """
        import torch

        with torch.inference_mode():
            out = self._model(
                input_ids=torch.tensor([list(ids)], device=self._model.device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            return out.logits[0, -1].float().cpu(), out.past_key_values

    def portions(self, ids: Sequence[int], *, begun: bool) -> Iterator[Sequence[int]]:
        """Cut ids into what one forward pass should read.

        Args:
            ids: The ids to read.
            begun: Whether there is a cache already.
        """
        size = (1 if begun else len(ids)) if self._recurrent else _PORTION
        for start in range(0, len(ids), size):
            yield ids[start : start + size]


class Sampler:
    """Chooses tokens from scores.

    Args:
        sampling: How. A temperature of 0 takes the most likely token; ``top_k=0`` is no limit.
        seed: The same seed and the same scores give the same tokens; None is never the same. torch's global state is
            neither read nor changed.
    """

    def __init__(self, sampling: Sampling, seed: int | None) -> None:
        import torch
        from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopPLogitsWarper

        self._sampling = sampling
        self._seen: set[int] = set()
        self._random = torch.Generator()
        if seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(seed)
        self._warpers: list[Any] = []
        if sampling.temperature > 0:
            self._warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.top_p < 1:
            self._warpers.append(TopPLogitsWarper(sampling.top_p))
        if sampling.min_p > 0:
            self._warpers.append(MinPLogitsWarper(sampling.min_p))

    def saw(self, token: int) -> None:
        """Note a token of the answer, for the presence penalty."""
        self._seen.add(token)

    def choose(self, scores: Tensor, allowed: Sequence[int] | None = None) -> int:
        """Return the next token's id.

        Args:
            scores: One for each id of the vocabulary; not changed.
            allowed: The ids to choose from; None is all.

        Raises:
            FloatingPointError: If the scores are not numbers.
        """
        import torch

        with torch.inference_mode():
            found = self._penalised(scores)
            found = found if allowed is None else found[list(allowed)]
            # The k best first: warpers and softmax then work on 20 numbers instead of 150,000.
            best, order = found.topk(min(self._sampling.top_k or len(found), len(found)))
            if not bool(best[0].isfinite()):
                msg = 'the model gave scores that are not finite; use dtype="float32" or "bfloat16"'
                raise FloatingPointError(msg)
            place = int(order[self._draw(best) if self._sampling.temperature > 0 else 0])
            return place if allowed is None else allowed[place]

    def _penalised(self, scores: Tensor) -> Tensor:
        penalty = self._sampling.presence_penalty
        if not penalty or not self._seen:
            return scores
        lowered = scores.clone()
        lowered[list(self._seen)] -= penalty
        return lowered

    def _draw(self, best: Tensor) -> int:
        row: Any = best.unsqueeze(0)
        for warper in self._warpers:
            row = warper(None, row)
        return int(row.softmax(dim=-1).multinomial(1, generator=self._random))


def _load(folder: Path, device: str | None, dtype: DType) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    from qwen3_core import checkpoint

    _require_chat_model(folder)
    target = torch.device(device or checkpoint.default_device())
    auto: Any = AutoModelForCausalLM
    model, info = auto.from_pretrained(
        folder,
        dtype=checkpoint.torch_dtype(dtype, target),
        trust_remote_code=False,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    # transformers fills what it does not find with random numbers and only warns.
    if info["missing_keys"]:
        names = ", ".join(sorted(info["missing_keys"])[:3])
        msg = f"{folder} lacks weights of the model ({names}, ...): it is incomplete or of another kind"
        raise ValueError(msg)
    return model.to(target).eval()


def _require_chat_model(folder: Path) -> None:
    path = folder / "config.json"
    if not path.is_file():
        msg = f"{folder} has no config.json: it is not a model folder"
        raise FileNotFoundError(msg)
    kind = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    if kind not in _ARCHITECTURES:
        msg = f"{folder} holds a {kind!r} model, and this engine chats only with {', '.join(_ARCHITECTURES)}"
        raise ValueError(msg)
    if (folder / "modules.json").is_file():
        msg = f"{folder} holds an embedding or reranking model: it cannot chat"
        raise ValueError(msg)
    if not any(folder.glob("*.safetensors")):
        msg = f"{folder} has no weights: it needs model.safetensors, or its shards and their index"
        raise FileNotFoundError(msg)
