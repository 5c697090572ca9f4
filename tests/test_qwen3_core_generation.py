"""Forward passes and the choice of tokens, against transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING

from qwen3_core.families import Sampling
from qwen3_core.local_chat.generation import Network, Sampler


def architecture(kind: str) -> Any:
    """A random model of another architecture of the family."""
    import transformers

    sizes: dict[str, Any] = {
        "vocab_size": 14400, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "head_dim": 32,
        "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.15, "max_position_embeddings": 2048,
    }  # fmt: skip
    experts: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    linear: dict[str, Any] = dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 16)
    linear |= {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
    torch.manual_seed(4)
    if kind == "qwen3_moe":
        return transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**sizes, **experts))
    if kind == "qwen3_next":
        experts["shared_expert_intermediate_size"] = 32
        return transformers.Qwen3NextForCausalLM(transformers.Qwen3NextConfig(**sizes, **experts, **linear))
    # Published checkpoints of Qwen3.5 see images too; that part of them is left out.
    vision: dict[str, Any] = {
        "depth": 1,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 64,
    }
    config = transformers.Qwen3_5Config(text_config={**sizes, **linear}, vision_config=vision)
    return transformers.Qwen3_5ForConditionalGeneration(config)


@pytest.mark.parametrize("kind", ["qwen3_moe", "qwen3_next", "qwen3_5"])
def test_the_whole_family_is_read_in_portions_like_at_once(tmp_path: Path, kind: str) -> None:
    if kind not in CONFIG_MAPPING:
        pytest.skip("this transformers does not know the architecture")
    model = architecture(kind).eval()
    model.save_pretrained(tmp_path)
    ids = torch.randint(0, 14000, (620,), generator=torch.Generator().manual_seed(1)).tolist()
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([ids])).logits[0, -1]
    network = Network(tmp_path, dtype="float32", device="cpu")
    cache = None
    for begun, part in ((False, ids[:600]), (True, ids[600:])):
        for portion in network.portions(part, begun=begun):
            scores, cache = network.read(portion, cache)
    assert torch.allclose(scores, expected, atol=1e-3)
    assert network.window == 2048
    # Where there is linear attention, only single tokens go on from a state in every version of transformers.
    linear = kind != "qwen3_moe"
    assert max(map(len, network.portions(ids, begun=True))) == (1 if linear else 512)


def test_tokens_are_drawn_as_transformers_would_draw_them() -> None:
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    scores = torch.tensor([3.0, 2.5, 2.4, 1.0, 0.9, -1.0, 2.45, 0.0, 1.5, -3.0])
    chain: Any = LogitsProcessorList(
        [TemperatureLogitsWarper(0.9), TopKLogitsWarper(7), TopPLogitsWarper(0.9), MinPLogitsWarper(0.05)]
    )
    expected = chain(torch.zeros(1, 0, dtype=torch.long), scores[None])[0].softmax(-1)
    sampler = Sampler(Sampling(0.9, 0.9, 7, 0.05), seed=1)
    drawn = torch.bincount(torch.tensor([sampler.choose(scores) for _ in range(4000)]), minlength=len(scores)) / 4000
    assert (drawn - expected).abs().max() < 0.03
    assert (drawn[expected == 0] == 0).all()
    assert 3 <= int((expected > 0).sum()) < 7, "settings that cut nothing would prove nothing"


def test_a_presence_penalty_lowers_what_was_said() -> None:
    scores = torch.tensor([1.0, 0.5, 0.0])
    sampler = Sampler(Sampling(0, 1, presence_penalty=0.7), seed=None)
    assert sampler.choose(scores) == 0
    sampler.saw(0)
    assert sampler.choose(scores) == 1
    assert scores.tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_an_error(bad: float) -> None:
    with pytest.raises(FloatingPointError, match="float32"):
        Sampler(Sampling(0.6, 0.95), seed=1).choose(torch.tensor([1.0, bad, 0.0]))


def test_a_checkpoint_without_all_its_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    architecture("qwen3_moe").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks weights"):
        Network(tmp_path, dtype="float32")
