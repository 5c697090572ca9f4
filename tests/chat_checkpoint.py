"""A chat model of Qwen3's architecture that knows a few conversations by heart, made in half a minute.

Real servers can serve it, as a Hugging Face folder or as GGUF, and what they answer is known beforehand: every token
that it has learnt is so probable that sampling as Qwen recommends finds no other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import log
from pathlib import Path
from random import Random
from typing import Any

from chat_conversations import STOP_PHRASE, Example, Scribe
from chat_template import QWEN3_STYLE_TEMPLATE

CHAT_MODEL = "qwen3-0.6b"
"""What the model is called. It is no 0.6B, but what holds for that model's family holds for it."""

TOKENIZER = Path(__file__).parent.parent / "qwen3_core" / "mini" / "reranker"
CONTEXT_TOKENS = 4096
SURE = 0.95
"""The least probability of a learnt token. Nucleus sampling with ``top_p=0.95`` then keeps no second candidate."""

_STEPS, _EXAMPLES, _RATE, _WARM_UP = 280, 12, 7e-3, 20
_CUT = 0.5  # how often a long thought is cut short in training
_LONG, _LEAST = 15, 8  # tokens: thoughts that are long, and what is left of one at least
# How a budget ends: with or without the official phrase, as llama.cpp forces it and as the documentation writes it.
_ENDS = ("</think>", "\n</think>\n\n", STOP_PHRASE + "</think>", STOP_PHRASE + "\n</think>\n\n")

_Ids = tuple[list[int], list[int]]  # what is there, and what comes next


def write_chat_checkpoint(folder: Path) -> Path:
    """Train the model and write it as a Hugging Face folder.

    Args:
        folder: Where to; made if it is not there.

    Raises:
        RuntimeError: It did not learn its lessons.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    tokenizer.chat_template = QWEN3_STYLE_TEMPLATE
    tokenizer.model_max_length = CONTEXT_TOKENS
    for seed in (2, 1, 3):  # another CPU rounds in another way, which can spoil a seed
        with _reproducible(seed):
            school = _School(tokenizer, seed)
            if _has_learnt(school):
                break
    else:
        message = f"The chat model is not sure of its texts: {school.weakest():.3f}, {school.weakest(cut=True):.3f}"
        raise RuntimeError(message)
    school.finished().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.copy(TOKENIZER / "tokenizer.json", folder)  # as it was: without the padding that loading adds
    return folder


def _has_learnt(school: _School) -> bool:
    for steps, rate in ((_STEPS, _RATE), *[(_STEPS // 4, _RATE / 4)] * 4):
        school.teach(steps, rate)
        if school.weakest() >= SURE and school.weakest(cut=True) >= SURE - 0.2:
            return True
    return False


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """One thread and a seed of its own: the same bits on every number of cores, and no crawl where others work."""
    import torch

    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


class _School:
    """Trains a small Qwen3 on what a `Scribe` writes.

    Two things make it quick. The input embeddings stay random, which is as good as learnt ones for telling words
    apart. And of the output weights only the rows of tokens that are ever written are trained: all other rows stay
    zero, so that their part in the softmax is known without computing it.
    """

    def __init__(self, tokenizer: Any, seed: int) -> None:
        import torch

        self._tokenizer, self._random = tokenizer, Random(seed)
        self._model = _untaught(tokenizer)
        self._close = tokenizer.convert_tokens_to_ids("</think>")
        written = (self._encode(example) for example in _all(Scribe(tokenizer, Random(0))))
        self._known = sorted({token for _, rest in written for token in rest})
        self._row = torch.zeros(len(tokenizer), dtype=torch.long)
        self._row[self._known] = torch.arange(len(self._known))
        self._head = torch.nn.Parameter(torch.randn(len(self._known), self._model.config.hidden_size) * 0.05)
        self._others = log(len(tokenizer) - len(self._known))
        self._learning = [self._head, *(weight for weight in self._model.parameters() if weight.requires_grad)]
        self._optimizer = torch.optim.AdamW(self._learning, betas=(0.9, 0.98), weight_decay=0.0)

    def teach(self, steps: int, rate: float) -> None:
        """Take optimizer steps; ``rate`` is the highest learning rate, which falls to almost nothing."""
        import torch

        scribe = Scribe(self._tokenizer, self._random, noise=0.3)
        for step in range(steps):
            examples = self._random.sample(list(_all(scribe)), _EXAMPLES)
            pairs = [self._encode(example, cut=self._random.random() < _CUT) for example in examples]
            pairs.sort(key=lambda pair: len(pair[0]) + len(pair[1]))  # little padding
            total = sum(len(rest) for _, rest in pairs)
            for start in range(0, len(pairs), 5):
                logits, rows = self._read(pairs[start : start + 5])
                loss: Any = torch.nn.functional.cross_entropy(logits, rows, reduction="sum") / total
                loss.backward()
            torch.nn.utils.clip_grad_norm_(self._learning, 1.0)
            for group in self._optimizer.param_groups:
                group["lr"] = rate * min(1, (step + 1) / _WARM_UP) * max(0.01, 1 - step / steps)
            self._optimizer.step()
            self._optimizer.zero_grad()

    def weakest(self, *, cut: bool = False) -> float:
        """Return the probability of the least certain token in what tests ask, at budgets of any length if ``cut``."""
        import torch

        random = Random(1)
        scribe = Scribe(self._tokenizer, random)
        pairs = [self._encode(example, cut=cut, random=random) for _ in range(4) for example in _all(scribe)]
        with torch.no_grad():
            logits, rows = self._read(pairs)
            return float(logits.softmax(-1).gather(1, rows[:, None]).min())

    def finished(self) -> Any:
        """Return the model with its output weights in place."""
        import torch

        with torch.no_grad():
            self._model.lm_head.weight.zero_()
            self._model.lm_head.weight[self._known] = self._head
        return self._model

    def _encode(self, example: Example, *, cut: bool = False, random: Random | None = None) -> _Ids:
        """Tokenise an example; ``cut`` ends its thinking at a random place, as a budget does."""
        random = random or self._random
        there, rest = ([*self._ids(text)] for text in (example.prompt, example.rest))
        closing = rest.index(self._close) if self._close in rest else 0
        if cut and closing >= _LONG:
            end = self._ids(random.choice(_ENDS))
            there += rest[: random.randint(_LEAST, closing)] + end
            rest = rest[closing + (1 if end[-1] == self._close else 2) :]
        return there, rest

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text).input_ids
        return ids

    def _read(self, pairs: Sequence[_Ids]) -> tuple[Any, Any]:
        """Return the logits where something is to be written, all tokens that never are as one, and the right rows."""
        import torch

        longest = max(len(there) + len(rest) for there, rest in pairs)
        ids = torch.zeros(len(pairs), longest, dtype=torch.long)  # padding behind is not seen by what is before it
        asked = torch.zeros(len(pairs), longest, dtype=torch.bool)
        for index, (there, rest) in enumerate(pairs):
            ids[index, : len(there) + len(rest)] = torch.tensor(there + rest)
            asked[index, len(there) - 1 : len(there) + len(rest) - 1] = True
        hidden = self._model.model(input_ids=ids, use_cache=False).last_hidden_state[asked]
        others = torch.full((len(hidden), 1), self._others)
        return torch.cat([hidden @ self._head.T, others], 1), self._row[ids.roll(-1, 1)[asked]]


def _all(scribe: Scribe) -> Iterator[Example]:
    yield from scribe.examples(thinking=True)
    yield from scribe.examples(thinking=False)


def _untaught(tokenizer: Any) -> Any:
    from torch.nn.init import normal_
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
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
    normal_(model.model.embed_tokens.weight)
    for frozen in (model.model.embed_tokens, model.lm_head):
        frozen.requires_grad_(requires_grad=False)
    return model


def write_gguf(folder: Path, file: Path) -> Path:
    """Write a checkpoint as GGUF for llama.cpp, in float32, as its converter does for Qwen3.

    Args:
        folder: A Qwen3 checkpoint with its tokenizer and chat template.
        file: What to write.
    """
    import gguf
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    layers = config["num_hidden_layers"]
    writer = gguf.GGUFWriter(file, "qwen3")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    _add_tokenizer(writer, folder)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, layers)
    for name, weight in load_file(folder / "model.safetensors").items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)) or name, weight.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokenizer(writer: Any, folder: Path) -> None:
    from gguf import TokenType

    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = {token["content"]: token for token in state["added_tokens"]}
    ids = state["model"]["vocab"] | {text: token["id"] for text, token in added.items()}
    tokens = sorted(ids, key=ids.__getitem__)
    assert [ids[token] for token in tokens] == list(range(len(tokens)))

    def kind(token: str) -> TokenType:
        if token not in added:
            return TokenType.NORMAL
        # What looks special is, marked or not; `<think>` and `<tool_call>` are text for the server.
        control = added[token]["special"] or token.startswith("<|")
        return TokenType.CONTROL if control else TokenType.USER_DEFINED

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([kind(token) for token in tokens])
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in state["model"]["merges"]]
    )
    writer.add_eos_token_id(ids["<|im_end|>"])
    writer.add_pad_token_id(ids["<|endoftext|>"])
    writer.add_bos_token_id(ids["<|endoftext|>"])
    writer.add_add_bos_token(value=False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text(encoding="utf-8"))
