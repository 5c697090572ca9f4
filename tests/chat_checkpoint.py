"""A chat model of Qwen3's architecture that knows a few conversations by heart.

Real servers can serve it, as a Hugging Face folder or as GGUF, and what they answer is known beforehand: every token
that it has learnt is so probable that sampling as Qwen recommends finds no other. `chat_training.py` has taught it;
what it learnt lies in ``chat_checkpoint.safetensors``, so that no test waits for a training or depends on its luck.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from typing import Any

from chat_template import QWEN3_STYLE_TEMPLATE
from gguf_checkpoint import Tokens, write_gguf

CHAT_MODEL = "qwen3-0.6b"
"""What the model is called. It is no 0.6B, but what holds for that model's family holds for it."""

TOKENIZER = Path(__file__).parent.parent / "qwen3_core" / "mini" / "reranker"
LEARNT = Path(__file__).with_suffix(".safetensors")
"""The layers, and of the output weights the rows of the tokens that are ever written (``known``, their ids).

All other rows are zero, and the input embeddings are random bits, which tell tokens apart as well as learnt ones.
"""

CONTEXT_TOKENS = 4096
SURE = 0.95
"""The least probability of a learnt token. Nucleus sampling with ``top_p=0.95`` then keeps no second candidate."""

_HIDDEN = 128


def write_chat_checkpoint(folder: Path) -> Path:
    """Write the model as a Hugging Face folder.

    Args:
        folder: Where to; made if it is not there.
    """
    from safetensors.torch import load_file

    tokenizer = chat_tokenizer()
    with_weights(untaught(tokenizer), load_file(LEARNT)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.copy(TOKENIZER / "tokenizer.json", folder)  # as it was: without the padding that loading adds
    return folder


def chat_tokenizer() -> Any:
    """Return the tokenizer with the chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    tokenizer.chat_template = QWEN3_STYLE_TEMPLATE
    tokenizer.model_max_length = CONTEXT_TOKENS
    return tokenizer


def with_weights(model: Any, learnt: dict[str, Any]) -> Any:
    """Put into an untaught model, in place, what is in `LEARNT`."""
    import torch

    weights = {name: weight.float() for name, weight in learnt.items() if name not in {"known", "head"}}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert (set(missing), unexpected) == ({"model.embed_tokens.weight", "lm_head.weight"}, [])
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.weight[learnt["known"]] = learnt["head"].float()
    return model


def untaught(tokenizer: Any) -> Any:
    """Return the model before it has learnt anything."""
    import torch
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=_HIDDEN,
        intermediate_size=2 * _HIDDEN,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT_TOKENS,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        initializer_range=0.05,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    # As Qwen ships it.
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True, temperature=0.6, top_p=0.95, top_k=20, eos_token_id=tokenizer.eos_token_id
    )
    # Python's generator, since its bits are the same in every version and on every machine.
    bits = torch.frombuffer(bytearray(Random(0).randbytes(len(tokenizer) * _HIDDEN)), dtype=torch.uint8)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_((bits % 2).float().view(-1, _HIDDEN) * 2 - 1)
    return model


def write_chat_gguf(folder: Path, file: Path) -> Path:
    """Write what `write_chat_checkpoint` wrote as GGUF, in float32.

    Args:
        folder: The checkpoint.
        file: What to write.
    """
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    # What looks special is, marked or not; `<think>` and `<tool_call>` are text for the server.
    tokens = Tokens("<|im_end|>", is_control=lambda token: token["special"] or token["content"].startswith("<|"))
    return write_gguf(folder, file, tokens=tokens, chat_template=template)
