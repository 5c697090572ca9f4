"""Train the byte-level BPE tokenizer of the mini checkpoints.

Pre-tokenizer, normaliser and added tokens are Qwen3's; the vocabulary is small and its own.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

VOCABULARY = 14_400
END_OF_TEXT = "<|endoftext|>"
MODEL_MAX_LENGTH = 2048
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}

# The pre-tokenizer pattern of Qwen2 and Qwen3.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Qwen3's 26 added tokens in order of id, special ones first, then those that are plain text to decoders.
SPECIAL = [
    END_OF_TEXT, "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
NOT_SPECIAL = [
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>",
]  # fmt: skip
# The fixed words of the prompts, repeated so that each becomes one token.
PROMPT_WORDS = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no". Instruct: Given a web search query, retrieve '
    "relevant passages that answer the query\nQuery: <Instruct>: <Query>: <Document>: "
    "system user assistant yes no\n\nParagraph.\n\n\n  - item\n    indented\n        more\n"
    "```\n# Heading\n\n## Heading\n"
)
FIRST_WORDS = (
    "yes no what how why when where which who whose can could do does did is are was were will would should "
    "may must if in on my our the a an I we explain show find list difference best"
)


def texts(passages: Path) -> Iterator[str]:
    """Yield the training passages, their headings and the prompts."""
    with gzip.open(passages, "rt", encoding="utf-8") as lines:
        for line in lines:
            passage = json.loads(line)
            if passage["split"] == "train":
                yield passage["text"]
                yield passage["heading"]
                # A query follows its prompt without a space and often in lower case.
                yield passage["heading"].split(" > ")[-1].lower()
                yield " ".join(passage["text"].split()[:6]).lower()
    for _ in range(300):
        yield PROMPT_WORDS
        yield from FIRST_WORDS.split()


def train(passages: Path) -> dict[str, Any]:
    """Train the vocabulary.

    Args:
        passages: The ``passages.jsonl.gz`` of ``corpus.py``.

    Returns:
        The content of ``tokenizer.json``, without a post-processor.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL) - len(NOT_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(passages), trainer)
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    base = tokenizer.get_vocab_size()
    content["added_tokens"] = [
        {
            "id": base + offset, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": token in SPECIAL,
        }
        for offset, token in enumerate(SPECIAL + NOT_SPECIAL)
    ]  # fmt: skip
    return content


def end_of_text_processor(token_id: int) -> dict[str, Any]:
    """Return the post-processor that ends every text with ``<|endoftext|>``, as Qwen3-Embedding's does."""
    piece = {"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}}
    single = [{"Sequence": {"id": "A", "type_id": 0}}, piece]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": END_OF_TEXT, "type_id": 1}}]
    special = {END_OF_TEXT: {"id": END_OF_TEXT, "ids": [token_id], "tokens": [END_OF_TEXT]}}
    template = {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}
    return {"type": "Sequence", "processors": [BYTE_LEVEL, template]}


def config(added: list[dict[str, Any]]) -> dict[str, Any]:
    """Return ``tokenizer_config.json``."""
    decoder = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in added}
    return {
        "add_bos_token": False, "add_prefix_space": False, "added_tokens_decoder": decoder,
        "additional_special_tokens": SPECIAL[1:], "bos_token": None, "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>", "errors": "replace", "model_max_length": MODEL_MAX_LENGTH,
        "pad_token": END_OF_TEXT, "split_special_tokens": False, "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }  # fmt: skip


def save(content: dict[str, Any], folder: Path, *, end_of_text: bool) -> None:
    """Write one tokenizer folder, with or without the ``<|endoftext|>`` post-processor."""
    folder.mkdir(parents=True, exist_ok=True)
    token_id = next(t["id"] for t in content["added_tokens"] if t["content"] == END_OF_TEXT)
    processor = end_of_text_processor(token_id) if end_of_text else BYTE_LEVEL
    text = json.dumps({**content, "post_processor": processor}, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    text = json.dumps(config(content["added_tokens"]), indent=2, ensure_ascii=False)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Write ``tokenizer/embedding`` and ``tokenizer/reranker`` into the working folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="working folder")
    args = parser.parse_args()
    content = train(args.work / "passages.jsonl.gz")
    save(content, args.work / "tokenizer" / "embedding", end_of_text=True)
    save(content, args.work / "tokenizer" / "reranker", end_of_text=False)


if __name__ == "__main__":
    main()
