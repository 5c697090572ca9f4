"""Write a trained model as a checkpoint folder, laid out like the Qwen3-Embedding and -Reranker repositories.

The folder loads with ``transformers`` and with ``sentence-transformers`` and is put in place by one
rename, so that a reader never sees half of it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from string import Template
from typing import Any

import torch
from construct import PREFIX, SUFFIX
from embedder import TASK, prompt
from model import EPSILON, HEAD_DIM, HEADS, HIDDEN, MAX_POSITIONS, ROPE_THETA
from safetensors.torch import save_file
from tokenizer import END_OF_TEXT
from transformers import AutoTokenizer

MEGABYTES = 12
ST = "sentence_transformers"
CHAT_TEMPLATE = (
    "{%- set found = namespace(instruct='" + TASK + "', query='', document='') -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'system' -%}{%- set found.instruct = message.content -%}"
    "{%- elif message.role == 'query' -%}{%- set found.query = message.content -%}"
    "{%- elif message.role == 'document' -%}{%- set found.document = message.content -%}"
    "{%- endif -%}{%- endfor -%}"
    "{{- '" + PREFIX.replace("\n", "\\n") + "' -}}"
    "{{- '<Instruct>: ' + found.instruct + '\\n<Query>: ' + found.query + '\\n<Document>: ' + found.document -}}"
    "{{- '" + SUFFIX.replace("\n", "\\n") + "' -}}"
)


def config(state: dict[str, torch.Tensor], end: int, pad: int) -> dict[str, Any]:
    """Return ``config.json`` with the names that every transformers release since 4.51 reads."""
    gates = [weight for name, weight in state.items() if name.endswith("mlp.gate_proj.weight")]
    vocabulary = next(len(weight) for name, weight in state.items() if name.endswith("embed_tokens.weight"))
    layers, (intermediate, _) = len(gates), gates[0].shape
    return {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": None, "eos_token_id": end, "head_dim": HEAD_DIM, "hidden_act": "silu",
        "hidden_size": HIDDEN, "initializer_range": 0.02, "intermediate_size": intermediate,
        "max_position_embeddings": MAX_POSITIONS, "max_window_layers": layers, "model_type": "qwen3",
        "num_attention_heads": HEADS, "num_hidden_layers": layers, "num_key_value_heads": HEADS,
        "pad_token_id": pad, "rms_norm_eps": EPSILON, "rope_scaling": None, "rope_theta": ROPE_THETA,
        "sliding_window": None, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True,
        "use_sliding_window": False, "vocab_size": vocabulary,
    }  # fmt: skip


def modules(*kinds: tuple[str, str]) -> list[dict[str, Any]]:
    """Return ``modules.json`` from (path, type) pairs."""
    return [{"idx": i, "name": str(i), "path": path, "type": f"{ST}.{kind}"} for i, (path, kind) in enumerate(kinds)]


def embedding_files() -> dict[str, Any]:
    """Return the sentence-transformers files of an embedding model."""
    return {
        "modules.json": modules(
            ("", "models.Transformer"), ("1_Pooling", "models.Pooling"), ("2_Normalize", "models.Normalize")
        ),
        "1_Pooling/config.json": {
            "word_embedding_dimension": HIDDEN, "pooling_mode_lasttoken": True, "include_prompt": True,
            "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False,
            "pooling_mode_max_tokens": False,
        },
        "config_sentence_transformers.json": {
            "prompts": {"query": prompt(""), "document": ""}, "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }  # fmt: skip


def reranker_files(yes: int, no: int) -> dict[str, Any]:
    """Return the sentence-transformers files of a reranker that scores raw log odds."""
    flat = {"method": "forward", "method_output_name": "logits"}
    return {
        "modules.json": modules(
            ("", "base.modules.transformer.Transformer"),
            ("1_LogitScore", "cross_encoder.modules.logit_score.LogitScore"),
        ),
        "1_LogitScore/config.json": {
            "true_token_id": yes, "false_token_id": no, "module_input_name": "causal_logits",
        },
        "sentence_bert_config.json": {
            "transformer_task": "text-generation",
            "modality_config": {"text": flat, "message": {**flat, "format": "flat"}},
            "module_output_name": "causal_logits",
        },
        "config_sentence_transformers.json": {
            "model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity",
            "prompts": {"query": TASK}, "default_prompt_name": "query",
        },
    }  # fmt: skip


def write_json(path: Path, content: Any) -> None:
    """Write one JSON file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def weights(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors to save: bfloat16, without the tied output layer."""
    return {k: v.to(torch.bfloat16).contiguous() for k, v in state.items() if k != "lm_head.weight"}


def card_values(figures: dict[str, Any]) -> dict[str, str]:
    """Flatten the figures of a training stage into the names that the model card uses."""
    short = {"R@1": "r1", "R@3": "r3", "R@10": "r10", "MRR": "mrr", "MRR at 64": "mrr64"}
    out = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            for key, number in value.items():
                plain = f"{name}_{short[key]}" if key in short else key.replace(" ", "_")
                out[plain] = f"{number:.3f}"
        else:
            out[name] = f"{value:,}" if isinstance(value, int) else f"{value:g}"
    return out


def fill(folder: Path, kind: str, work: Path) -> None:
    """Write every file of a checkpoint."""
    tokens = work / "tokenizer" / kind
    shutil.copy(tokens / "tokenizer.json", folder)
    settings = json.loads((tokens / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["padding_side"] = "left"
    tokenizer = AutoTokenizer.from_pretrained(tokens)
    end, pad, yes, no = tokenizer.convert_tokens_to_ids(["<|im_end|>", END_OF_TEXT, "yes", "no"])
    state = weights(torch.load(work / ("embedder.pt" if kind == "embedding" else "reranker.pt")))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    if kind == "embedding":
        files = {"config.json": config(state, pad, pad), **embedding_files()}
    else:
        files = {"config.json": config(state, end, pad), **reranker_files(yes, no)}
        settings["chat_template"] = CHAT_TEMPLATE
    for name, content in {**files, "tokenizer_config.json": settings}.items():
        write_json(folder / name, content)
    card = Template((Path(__file__).with_name("cards") / f"{kind}.md").read_text(encoding="utf-8"))
    figures = json.loads((work / f"{'embedder' if kind == 'embedding' else 'reranker'}.json").read_text("utf-8"))
    (folder / "README.md").write_text(card.substitute(card_values(figures)), encoding="utf-8")


def export(kind: str, work: Path, target: Path) -> None:
    """Write a checkpoint and move it into place.

    Raises:
        ValueError: If the folder is larger than ``MEGABYTES``.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as temporary:
        folder = Path(temporary) / kind
        folder.mkdir()
        fill(folder, kind, work)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if size > MEGABYTES * 1_000_000:
            message = f"{kind} takes {size / 1e6:.2f} MB"
            raise ValueError(message)
        if target.exists():
            target.rename(Path(temporary) / "old")
        folder.rename(target)
    print(f"{target}: {size / 1e6:.2f} MB")


def main() -> None:
    """Export one kind of model or both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="working folder")
    parser.add_argument("--target", type=Path, required=True, help="folder that holds embedding/ and reranker/")
    parser.add_argument("--kind", choices=["embedding", "reranker"], nargs="*", default=["embedding", "reranker"])
    args = parser.parse_args()
    for kind in args.kind:
        export(kind, args.work, args.target / kind)


if __name__ == "__main__":
    main()
