"""The peers of the engine benchmark that run an exported graph: ONNX Runtime and OpenVINO.

The graph gives the last hidden state of each text; causal attention needs no mask for padding on the right. Embedding
model and reranker share it: for a reranker only the rows of "yes" and "no" of the head are multiplied, which is less
than what the model card does.
"""

from __future__ import annotations

import importlib
import timeit
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from engine_checkpoint import NO, SHAPE, YES, finished

from qwen3_core.prompts import DEFAULT_INSTRUCTION, RERANK_PREFIX, RERANK_SUFFIX, format_rerank_body

SIZES = (1, 2, 4, 8, 16, 32)
TOO_SLOW = 1.3  # larger batches need more padding
OPSET = 23  # the first with attention, rotary embedding and RMS norm as one operation each
KINDS = ("embedding", "reranker")
INPUTS = ["input_ids", "attention_mask"]


def rerank_prompt(query: str, document: str) -> str:
    """Return the whole prompt of the model card's transformers recipe."""
    return RERANK_PREFIX + format_rerank_body(query, document, DEFAULT_INSTRUCTION) + RERANK_SUFFIX


def threads() -> int:
    """Return how many threads torch takes, so that everybody has as many."""
    import torch

    return torch.get_num_threads()


class Batched(ABC):
    """A peer that is given a number of texts at a time; the batch sizes are attributes that `tune` sets."""

    embed_size = 8
    rerank_size = 8

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return a unit vector for each text."""

    @abstractmethod
    def rerank(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the probability of "yes" for each document."""

    def tune(self, kind: str, texts: Sequence[str]) -> int:
        """Try batch sizes on a sample of texts until they get much slower; keep the fastest, and return it.

        Args:
            kind: "embed" or "rerank".
            texts: The sample.
        """
        sample = list(texts)
        run = (lambda: self.rerank(sample[0], sample)) if kind == "rerank" else (lambda: self.embed(sample))
        seconds: dict[int, float] = {}
        for size in SIZES:
            setattr(self, f"{kind}_size", size)
            seconds[size] = timeit.timeit(run, number=1)
            if size >= len(sample) or seconds[size] > TOO_SLOW * min(seconds.values()):
                break
        best = min(seconds, key=seconds.__getitem__)
        setattr(self, f"{kind}_size", best)
        return best


class Graph(Batched):
    """Tokenised with `tokenizers`, sorted by length, padded on the right."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open
        from tokenizers import Tokenizer

        self._tokenizers = {kind: Tokenizer.from_file(str(folder / kind / "tokenizer.json")) for kind in KINDS}
        for tokenizer in self._tokenizers.values():
            tokenizer.enable_padding(pad_id=SHAPE["pad_token_id"], pad_token="<|endoftext|>")
        with safe_open(folder / "reranker" / "model.safetensors", framework="pt") as weights:
            rows = weights.get_slice("model.embed_tokens.weight")
            head = [rows[token : token + 1].float().numpy()[0] for token in (YES, NO)]
        self._direction = head[0] - head[1]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return a unit vector for each text."""
        hidden = self._hidden("embedding", texts, self.embed_size)
        unit: np.ndarray = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
        return unit

    def rerank(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the probability of "yes" for each document."""
        prompts = [rerank_prompt(query, document) for document in documents]
        logits = self._hidden("reranker", prompts, self.rerank_size) @ self._direction
        scores: list[float] = (1 / (1 + np.exp(-logits))).tolist()
        return scores

    def _hidden(self, kind: str, texts: Sequence[str], size: int) -> np.ndarray:
        found = np.empty((len(texts), SHAPE["hidden_size"]), np.float32)
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        for first in range(0, len(order), size):
            part = order[first : first + size]
            encoded = self._tokenizers[kind].encode_batch([texts[number] for number in part])
            ids = np.array([each.ids for each in encoded], np.int64)
            mask = np.array([each.attention_mask for each in encoded], np.int64)
            found[part] = self.run(ids, mask)
        return found

    @abstractmethod
    def run(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return the hidden state of the last token of each row."""


class OnnxRuntime(Graph):
    """ONNX Runtime on the CPU.

    Args:
        folder: The checkpoint.
        dtype: "int8" rounds the weights of all matrix products, a channel at a time, and their inputs as they come.
    """

    def __init__(self, folder: Path, dtype: Literal["fp32", "int8"] = "fp32") -> None:
        onnxruntime: Any = importlib.import_module("onnxruntime")
        super().__init__(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
        file = onnx_int8(folder) if dtype == "int8" else onnx_fp32(folder)
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return the hidden state of the last token of each row."""
        found: np.ndarray = self._session.run(None, dict(zip(INPUTS, (ids, mask), strict=True)))[0]
        return found


class OpenVino(Graph):
    """OpenVINO on the CPU, computing in bfloat16."""

    def __init__(self, folder: Path) -> None:
        openvino: Any = importlib.import_module("openvino")
        super().__init__(folder)
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": threads(),
            "PERFORMANCE_HINT": "LATENCY",  # one request at a time takes all threads
        }
        self._model = openvino.Core().compile_model(str(openvino_graph(folder)), "CPU", settings)

    def run(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return the hidden state of the last token of each row."""
        found: np.ndarray = self._model([ids, mask])[0]
        return found


def onnx_fp32(folder: Path) -> Path:
    """Return the checkpoint as ONNX; it is exported on the first call, in two minutes."""
    target = folder.with_name(f"{folder.name}-onnx")
    if not target.is_dir():
        import torch

        program, example = _exported(folder)
        with finished(target) as part:
            part.mkdir()
            torch.onnx.export(
                program,
                example,
                part / "model.onnx",
                dynamo=True,
                external_data=True,
                opset_version=OPSET,
                input_names=INPUTS,
                output_names=["last_hidden_state"],
                verbose=False,
            )
    return target / "model.onnx"


def onnx_int8(folder: Path) -> Path:
    """Return the same with 8-bit matrices; it is written on the first call, in a minute."""
    target = folder.with_name(f"{folder.name}-onnx-int8")
    if not target.is_dir():
        quantization: Any = importlib.import_module("onnxruntime.quantization")
        source = onnx_fp32(folder)
        with finished(target) as part:
            part.mkdir()
            quantization.quantize_dynamic(
                source,
                part / "model.onnx",
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=["MatMul"],  # the table of embeddings stays exact
                use_external_data_format=True,
            )
    return target / "model.onnx"


def openvino_graph(folder: Path) -> Path:
    """Return the checkpoint as OpenVINO's own format; it is converted on the first call, in a minute."""
    target = folder.with_name(f"{folder.name}-openvino")
    if not target.is_dir():
        openvino: Any = importlib.import_module("openvino")
        with finished(target) as part:
            part.mkdir()
            model = openvino.convert_model(_exported(folder)[0])
            openvino.save_model(model, str(part / "model.xml"), compress_to_fp16=False)
    return target / "model.xml"


def _exported(folder: Path) -> tuple[Any, tuple[Any, Any]]:
    """Return a program of torch from ids and mask, both (texts, tokens), to the last hidden states."""
    import torch
    from transformers import AutoModel

    class LastHiddenState(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(folder / "embedding", dtype=torch.float32).eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            position = torch.arange(input_ids.shape[1])
            causal = (position[None, :] <= position[:, None])[None, None]
            hidden: torch.Tensor = self.model(
                input_ids=input_ids,
                attention_mask={"full_attention": causal},
                position_ids=position[None].expand_as(input_ids),
                use_cache=False,
            ).last_hidden_state
            return hidden[torch.arange(hidden.shape[0]), attention_mask.sum(1) - 1]

    ids = torch.arange(18).view(2, 9)
    example = (ids, torch.ones_like(ids))
    dynamic = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens", min=2)}
    with torch.no_grad():
        program = torch.export.export(
            LastHiddenState(), example, dynamic_shapes=dict.fromkeys(INPUTS, dynamic), strict=False
        )
    return program, example
