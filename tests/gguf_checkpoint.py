"""Qwen3 checkpoints as GGUF, for llama.cpp: what its converter would write, without its repository."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qwen3_core.prompts import (
    END_OF_TEXT,
    RERANK_FALSE_TOKEN,
    RERANK_PREFIX,
    RERANK_SUFFIX,
    RERANK_TRUE_TOKEN,
    format_rerank_body,
)

Matrices = Literal["F32", "BF16", "Q8_0"]


@dataclass(frozen=True)
class Tokens:
    """What GGUF says of tokens and ``tokenizer.json`` does not.

    Attributes:
        eos: The token that ends a text, or a reply where a model chats.
        is_control: Whether an entry of ``added_tokens`` is a control token, which llama.cpp leaves out of the texts
            that it returns; the others stay in them.
        eot: The token that ends a turn, if it is not `eos`.
        add_eos: Whether llama.cpp appends `eos` to what it tokenizes; None leaves it out of the file.
    """

    eos: str
    is_control: Callable[[Mapping[str, Any]], bool]
    eot: str | None = None
    add_eos: bool | None = None


def write_gguf(
    folder: Path,
    file: Path,
    *,
    tokens: Tokens,
    chat_template: str | Sequence[Mapping[str, str]],
    matrices: Matrices = "F32",
    labels: Mapping[str, int] | None = None,
) -> Path:
    """Write a checkpoint as llama.cpp's converter does for Qwen3: norms in float32, all matrices in one type.

    Args:
        folder: A Qwen3 checkpoint in one file of weights, with ``config.json`` and ``tokenizer.json``.
        file: What to write.
        tokens: Of the tokenizer.
        chat_template: The template, or several with their names (``name``, ``template``).
        matrices: The type of the matrices.
        labels: For a reranker with tied embeddings: the tokens whose probabilities are its scores, and their ids. Their
            rows become ``cls.output``.

    Returns:
        `file`.
    """
    import gguf

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(file, "qwen3")
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if matrices == "F32" else f"MOSTLY_{matrices}"])
    _add_sizes(writer, config)
    _add_tokenizer(writer, json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")), tokens)
    writer.add_chat_template(chat_template)
    if labels:
        writer.add_classifier_output_labels(list(labels))
    _add_weights(writer, folder, config["num_hidden_layers"], matrices, list((labels or {}).values()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def write_embedding_gguf(folder: Path, file: Path) -> Path:
    """Write an embedding checkpoint as GGUF, in float32 and with the end token that its tokenizer appends."""
    return write_gguf(folder, file, tokens=_retrieval_tokens(add_eos=True), chat_template="")


def write_reranker_gguf(folder: Path, file: Path) -> Path:
    """Write a reranker as GGUF, in float32: ``cls.output`` has the rows of "yes" and "no", a template the prompt."""
    ids = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    prompt = RERANK_PREFIX + format_rerank_body("{query}", "{document}") + RERANK_SUFFIX
    return write_gguf(
        folder,
        file,
        tokens=_retrieval_tokens(add_eos=False),
        chat_template=[{"name": "rerank", "template": prompt}],
        labels={token: ids[token] for token in (RERANK_TRUE_TOKEN, RERANK_FALSE_TOKEN)},
    )


def _retrieval_tokens(*, add_eos: bool) -> Tokens:
    return Tokens(END_OF_TEXT, is_control=lambda token: bool(token["special"]), eot="<|im_end|>", add_eos=add_eos)


def _add_sizes(writer: Any, config: Mapping[str, Any]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])


def _add_tokenizer(writer: Any, state: Mapping[str, Any], said: Tokens) -> None:
    from gguf import TokenType

    added = {token["content"]: token for token in state["added_tokens"]}
    ids = state["model"]["vocab"] | {text: token["id"] for text, token in added.items()}
    tokens = sorted(ids, key=ids.__getitem__)
    assert [ids[token] for token in tokens] == list(range(len(tokens)))
    types = {
        text: TokenType.CONTROL if said.is_control(token) else TokenType.USER_DEFINED for text, token in added.items()
    }
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([types.get(token, TokenType.NORMAL) for token in tokens])
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in state["model"]["merges"]]
    )
    writer.add_eos_token_id(ids[said.eos])
    writer.add_pad_token_id(ids["<|endoftext|>"])
    writer.add_bos_token_id(ids["<|endoftext|>"])
    if said.eot is not None:
        writer.add_eot_token_id(ids[said.eot])
    writer.add_add_bos_token(value=False)
    if said.add_eos is not None:
        writer.add_add_eos_token(value=said.add_eos)


def _add_weights(writer: Any, folder: Path, layers: int, matrices: Matrices, labels: Sequence[int]) -> None:
    """Add the tensors, and of the table of embeddings the rows of `labels`, if any."""
    import gguf
    from safetensors.torch import load_file

    def add(name: str, weight: Any) -> None:
        wanted = gguf.GGMLQuantizationType[matrices if weight.ndim > 1 else "F32"]
        writer.add_tensor(name, gguf.quants.quantize(weight, wanted), raw_dtype=wanted)

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, layers)
    for name, tensor in load_file(folder / "model.safetensors").items():
        weight = tensor.float().numpy()
        add(names.get_name(name, try_suffixes=(".weight",)) or name, weight)
        if labels and "embed_tokens" in name:
            add(f"{gguf.TENSOR_NAMES[gguf.MODEL_TENSOR.CLS_OUT]}.weight", weight[list(labels)])
