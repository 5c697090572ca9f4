"""The checkpoint of the engine benchmark: the shape of Qwen3-0.6B, random weights, the genuine tokenizer.

What a forward pass costs does not depend on what a model has learnt, so nothing needs to be downloaded. Two folders
share one file of weights: ``embedding`` and ``reranker`` are laid out as Qwen/Qwen3-Embedding-0.6B and
Qwen/Qwen3-Reranker-0.6B (revision of 2026-04) are, so that sentence-transformers, transformers and this package load
them as they load those. `gguf` writes the same weights for llama.cpp.

    python benchmarks/engine_checkpoint.py                 # 3 GB in ~/.cache/qwen3-rag-bench; graphs take 6 more
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from qwen3_core.prompts import DEFAULT_INSTRUCTION, END_OF_TEXT, RERANK_PREFIX, RERANK_SUFFIX, format_rerank_body

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from gguf_checkpoint import Tokens, write_gguf
from qwen3_tokenizer import genuine_tokenizer

CACHE = Path.home() / ".cache" / "qwen3-rag-bench"
MINI = Path(__file__).parent.parent / "qwen3_core" / "mini"
SEED = 0

Kind = Literal["BF16", "Q8_0"]

# config.json of Qwen/Qwen3-Embedding-0.6B; the reranker's differs in what is no matter of shape.
SHAPE: dict[str, Any] = {
    "vocab_size": 151_669,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 32_768,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    "tie_word_embeddings": True,
    "initializer_range": 0.02,  # also what keeps activations of random weights near 1
    "bos_token_id": 151_643,
    "eos_token_id": 151_643,
    "pad_token_id": 151_643,
}
YES, NO = 9693, 2152  # model card: `convert_tokens_to_ids("yes")`, `("no")`


@contextlib.contextmanager
def finished(target: Path) -> Iterator[Path]:
    """Yield a path, for a file or a folder, that gets the target's name when all of it is written."""
    part = target.with_name(f"unfinished-{target.name}")
    _remove(part)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        part.replace(target)
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def checkpoint(cache: Path = CACHE) -> Path:
    """Return the folder that holds ``embedding`` and ``reranker``; it is written on the first call."""
    folder = cache / f"qwen3-0.6b-random-{SEED}"
    if not folder.is_dir():
        with finished(folder) as part:
            _write(part)
    return folder


def _write(root: Path) -> None:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM, set_seed

    set_seed(SEED)
    model: Any = Qwen3ForCausalLM(Qwen3Config(**SHAPE))
    model.to(torch.bfloat16)
    model.save_pretrained(root / "embedding")
    model.config.save_pretrained(root / "reranker")
    shared = root / "embedding" / "model.safetensors"
    os.link(shared, root / "reranker" / shared.name)
    for kind in ("embedding", "reranker"):
        _write_tokenizer(MINI / kind, root / kind)
        for path in MINI.glob(f"{kind}/*.json"):
            if path.name in {"modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"}:
                shutil.copy(path, root / kind)
    _copy_json("embedding/1_Pooling/config.json", root, word_embedding_dimension=SHAPE["hidden_size"])
    _copy_json("reranker/1_LogitScore/config.json", root, true_token_id=YES, false_token_id=NO)


def _copy_json(name: str, root: Path, **changes: Any) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    state = json.loads((MINI / name).read_text(encoding="utf-8")) | changes
    (root / name).write_text(json.dumps(state), encoding="utf-8")


def _write_tokenizer(mini: Path, folder: Path) -> None:
    state = genuine_tokenizer(mini)
    assert len(state["model"]["vocab"]) + len(state["added_tokens"]) == SHAPE["vocab_size"]
    (folder / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    config = json.loads((mini / "tokenizer_config.json").read_text(encoding="utf-8"))
    del config["added_tokens_decoder"]  # has the mini tokenizer's ids
    config["model_max_length"] = 131_072
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def gguf(folder: Path, kind: Kind) -> Path:
    """Return the checkpoint as GGUF, for embeddings and for reranking; it is written on the first call.

    As llama.cpp's converter does it: norms in float32, all matrices in the wanted type; the end token is appended as
    the embedding tokenizer does; a reranker has the rows of "yes" and "no" as ``cls.output`` and a template.

    Args:
        folder: What `checkpoint` returned.
        kind: The type of the matrices.
    """
    file = folder.with_name(f"{folder.name}-{kind}.gguf")
    if not file.is_file():
        with finished(file) as part:
            _write_gguf(folder, part, kind)
    return file


def _write_gguf(folder: Path, file: Path, kind: Kind) -> None:
    rerank = RERANK_PREFIX + format_rerank_body("{query}", "{document}", DEFAULT_INSTRUCTION) + RERANK_SUFFIX
    write_gguf(
        folder / "embedding",
        file,
        tokens=Tokens(END_OF_TEXT, is_control=lambda token: bool(token["special"]), eot="<|im_end|>", add_eos=True),
        chat_template=[{"name": "rerank", "template": rerank}],
        matrices=kind,
        labels={"yes": YES, "no": NO},
    )


def main() -> None:
    """Write everything that there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=CACHE)
    folder = checkpoint(parser.parse_args().cache)
    kinds: tuple[Kind, ...] = ("BF16", "Q8_0")
    print(folder, *(gguf(folder, kind) for kind in kinds), sep="\n")


if __name__ == "__main__":
    main()
