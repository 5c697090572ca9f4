"""Clients of scripted embedding and rerank servers: how each dialect is asked, and what it should answer."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scripted_retrieval import SERVERS, ScriptedRetrieval, model

from qwen3_core.prompts import DEFAULT_INSTRUCTION as TASK
from qwen3_core.prompts import RERANK_PREFIX, RERANK_SUFFIX, format_rerank_body
from qwen3_core.remote import RemoteEmbedder, RemoteReranker

QUERY, DOCS = "What is the capital of China?", ["Gravity attracts.", "The capital of China is Beijing.", "Trees"]
Ask = Callable[..., Any]


def directly(of: Any, name: str, *args: Any, **options: Any) -> Any:
    """Call a method."""
    return getattr(of, name)(*args, **options)


def in_a_loop(of: Any, name: str, *args: Any, **options: Any) -> Any:
    """Call the async method of that name in an event loop of its own."""
    return asyncio.run(getattr(of, f"a{name}")(*args, **options))


both = pytest.mark.parametrize("ask", [directly, in_a_loop], ids=["sync", "async"])


def are_of(vectors: Any, texts: Sequence[str], size: int = 1024, *, of: int = 1024) -> bool:
    """Tell whether vectors are those of texts as the tokenizer should get them, in order and of length 1."""
    wanted = np.array([model.embed(text, of)[:size] for text in texts])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    found = np.array(vectors)
    lengths = np.linalg.norm(found, axis=1)
    return found.shape == wanted.shape and np.allclose(found, wanted, atol=1e-6) and np.allclose(lengths, 1, atol=1e-9)


def prompt(query: str, document: str, task: str = TASK) -> str:
    return RERANK_PREFIX + format_rerank_body(query, document, task) + RERANK_SUFFIX


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@dataclass(frozen=True)
class Case:
    """A server, its word, where it is asked, what beside the texts is said, and how many rows it takes."""

    server: str
    where: str
    body: dict[str, Any]
    rows: int = 64
    word: str = ""
    started: Any = ()
    template: Any = None

    def start(self, **options: Any) -> ScriptedRetrieval:
        return SERVERS[self.server](**{**dict(self.started), **options})

    def of(self, kind: Any, server: ScriptedRetrieval, **options: Any) -> Any:
        named = {"model": None if "dashscope" in self.server else server.name, "template": self.template}
        word: Any = self.word or self.server
        known = {"base_url": server.url, "server": word, "api_key": server.key or None, **server.clients()}
        return kind(**{**named, **known, **options})

    def embedder(self, server: ScriptedRetrieval, **options: Any) -> RemoteEmbedder:
        return self.of(RemoteEmbedder, server, **options)  # type: ignore[no-any-return]

    def reranker(self, server: ScriptedRetrieval, **options: Any) -> RemoteReranker:
        return self.of(RemoteReranker, server, **options)  # type: ignore[no-any-return]


FLOAT, BASE64 = (
    {"model": 0, "input": 0, "encoding_format": "float"},
    {"model": 0, "input": 0, "encoding_format": "base64"},
)
OLLAMA = {"model": 0, "input": 0, "truncate": False, "options": {"num_ctx": 8192}}
TEI = {"inputs": 0, "normalize": True, "truncate": False}
NATIVE = {"model": 0, "input": {"texts": 0}, "parameters": {"text_type": "document", "output_type": "dense"}}
ALI = "dashscope.aliyuncs.com"
NATIVE_URL = f"{ALI}/api/v1/services/embeddings/text-embedding/text-embedding"
EMBED = {
    "auto": Case("openai", "openai.test:9000/v1/embeddings", FLOAT, word="auto"),
    "vllm": Case("vllm", "vllm.test:8000/v1/embeddings", BASE64),
    "sglang": Case("sglang", "sglang.test:30000/v1/embeddings", FLOAT),
    "llama.cpp": Case("llama.cpp", "llama.test:8080/v1/embeddings", BASE64),
    "lmstudio": Case("lmstudio", "lmstudio.test:1234/v1/embeddings", FLOAT),
    "xinference": Case("xinference", "xinference.test:9997/v1/embeddings", FLOAT),
    "openai": Case("openai", "openai.test:9000/v1/embeddings", FLOAT),
    "tei": Case("tei", "tei.test:8080/embed", TEI, 32),
    "tei-server": Case("tei", "tei.test:8080/embed", TEI, 32, template="server"),
    "ollama": Case("ollama", "ollama.test:11434/api/embed", OLLAMA),
    "dashscope": Case("dashscope", f"{ALI}/compatible-mode/v1/embeddings", FLOAT, 10),
    "native": Case("dashscope-native", NATIVE_URL, NATIVE, 10, "dashscope"),
    "native-client": Case("dashscope-native", NATIVE_URL, NATIVE, 10, "dashscope", template="client"),
}
FLAT = {"model": 0, "query": 0, "documents": 0}
TEI_RERANK = {"query": 0, "texts": 0, "raw_scores": False, "return_text": False, "truncate": False}
NATIVE_RERANK = {
    "model": 0, "input": {"query": 0, "documents": 0}, "parameters": {"return_documents": False, "instruct": TASK},
}  # fmt: skip
NOT_SERVED = {"served_template": False}
RERANK = {
    "auto": Case("openai", "openai.test:9000/v1/rerank", FLAT, word="auto", started={"reranks": True}),
    "vllm": Case("vllm", "vllm.test:8000/v1/rerank", {**FLAT, "instruction": TASK}),
    "vllm-client": Case(
        "vllm", "vllm.test:8000/v1/score", {"model": 0, "text_1": 0, "text_2": 0}, started=NOT_SERVED, template="client"
    ),
    "sglang": Case("sglang", "sglang.test:30000/v1/rerank", {**FLAT, "instruct": TASK, "return_documents": False}),
    "llama.cpp": Case("llama.cpp", "llama.test:8080/v1/rerank", FLAT),
    "xinference": Case(
        "xinference", "xinference.test:9997/v1/rerank", {**FLAT, "instruction": TASK, "return_documents": False}
    ),
    "tei": Case("tei", "tei.test:8080/rerank", TEI_RERANK, 32, started={"converted": True}, template="client"),
    "dashscope": Case("dashscope", f"{ALI}/compatible-api/v1/reranks", {**FLAT, "instruct": TASK}, 500),
    "native": Case(
        "dashscope-native", f"{ALI}/api/v1/services/rerank/text-rerank/text-rerank", NATIVE_RERANK, 500, "dashscope"
    ),
}
FIXED = ("auto", "llama.cpp")  # no instruction
embedding = pytest.mark.parametrize("case", EMBED.values(), ids=EMBED)
reranking = pytest.mark.parametrize("case", RERANK.values(), ids=RERANK)
