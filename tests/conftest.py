"""Fixtures that several test files share: the genuine vocabulary and small Qwen3 checkpoints."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from qwen3_tokenizer import genuine_tokenizer

from qwen3_core.workers import THREAD_NAME

if TYPE_CHECKING:
    from milvus_servers import Standalone

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# llama-index-core's `asyncio_run` asks for the current loop, which makes one that nobody closes, and warnings are
# errors here. Where it was said that there is none, it uses `asyncio.run`.
asyncio.set_event_loop(None)

# No wall clock in tests: shared machines are slow at times. No example database: the same run everywhere.
settings.register_profile("qwen3", deadline=None, database=None)
settings.load_profile("qwen3")

# `make test-matrix` runs the suite where only one of the frameworks is installed.
_HAS = {name: importlib.util.find_spec(name) is not None for name in ("langchain_milvus", "llama_index")}
_NEEDS = {
    "langchain_milvus": ["test_langchain_*", "test_qwen3_cli_*", "test_readme.py", "test_notebooks.py"],
    "llama_index": ["test_llamaindex_*", "test_readme.py", "test_notebooks.py"],
}
collect_ignore_glob = [pattern for name, patterns in _NEEDS.items() if not _HAS[name] for pattern in patterns]
if not all(_HAS.values()):
    collect_ignore_glob += ["test_both_frameworks.py", "test_architecture.py"]

MINI = Path(__file__).parent.parent / "qwen3_core" / "mini"


@pytest.fixture(scope="session")
def qwen3_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The genuine Qwen3 tokenizer."""
    folder = tmp_path_factory.mktemp("qwen3-tokenizer")
    (folder / "tokenizer.json").write_text(json.dumps(genuine_tokenizer(MINI / "reranker")), encoding="utf-8")
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "pad_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "model_max_length": 131072,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture
def no_thread_stays() -> Iterator[None]:
    """Behind the test, all threads of `Workers` end."""
    yield
    for thread in threading.enumerate():
        if thread.name == THREAD_NAME:
            thread.join(60)
            assert not thread.is_alive()


def _small_config(**changes: Any) -> Any:
    """A Qwen3 architecture in miniature: grouped heads, and a head size that is not hidden size / heads."""
    from transformers import Qwen3Config

    sizes = {
        "vocab_size": 151936,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 32768,
        # Wide enough that random weights tell texts apart.
        "initializer_range": 0.15,
        "tie_word_embeddings": True,
    }
    return Qwen3Config(**(sizes | changes))


def _save(model: Any, folder: Path, tokenizer_folder: Path) -> Path:
    model.save_pretrained(folder)
    for file in tokenizer_folder.iterdir():
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="session")
def embedding_folder(tmp_path_factory: pytest.TempPathFactory, qwen3_tokenizer_folder: Path) -> Path:
    """A random float32 Qwen3-Embedding checkpoint with the genuine vocabulary."""
    import torch
    from transformers import Qwen3Model

    torch.manual_seed(1)
    return _save(Qwen3Model(_small_config()), tmp_path_factory.mktemp("embedding"), qwen3_tokenizer_folder)


@pytest.fixture(scope="session")
def reranker_folder(tmp_path_factory: pytest.TempPathFactory, qwen3_tokenizer_folder: Path) -> Path:
    """A random float32 Qwen3-Reranker checkpoint with the genuine vocabulary and an untied head."""
    import torch
    from transformers import Qwen3ForCausalLM

    torch.manual_seed(2)
    model = Qwen3ForCausalLM(_small_config(tie_word_embeddings=False))
    return _save(model, tmp_path_factory.mktemp("reranker"), qwen3_tokenizer_folder)


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 chat checkpoint that knows the texts in `chat_conversations` by heart."""
    from chat_checkpoint import CHAT_MODEL, write_chat_checkpoint

    return write_chat_checkpoint(tmp_path_factory.mktemp("chat") / CHAT_MODEL)


@pytest.fixture(scope="session")
def chat_gguf(chat_folder: Path) -> Path:
    """The same as GGUF."""
    from chat_checkpoint import write_chat_gguf

    return write_chat_gguf(chat_folder, chat_folder.parent / "chat.gguf")


@pytest.fixture(scope="session")
def llama_cpp_chat_url(chat_gguf: Path) -> Iterator[str]:
    """A real llama.cpp server of that checkpoint; the model is called `chat_checkpoint.CHAT_MODEL`."""
    from chat_checkpoint import CHAT_MODEL, CONTEXT_TOKENS
    from real_servers import llama_cpp_server

    log = chat_gguf.parent / "llama-cpp.log"
    with llama_cpp_server(chat_gguf, name=CHAT_MODEL, context_tokens=CONTEXT_TOKENS, log=log) as url:
        yield url


@pytest.fixture(scope="session")
def llama_cpp_embedding_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real llama.cpp server of the "mini" embedding checkpoint, in float32; the model is called "embedding"."""
    from gguf_checkpoint import write_embedding_gguf
    from real_servers import llama_cpp_server

    folder = tmp_path_factory.mktemp("llama-cpp-embedding")
    gguf = write_embedding_gguf(MINI / "embedding", folder / "embedding.gguf")
    log = folder / "log"
    with llama_cpp_server(gguf, name="embedding", context_tokens=1024, log=log, task="embedding") as url:
        yield url


@pytest.fixture(scope="session")
def llama_cpp_reranker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real llama.cpp server of the "mini" reranker, in float32; the model is called "reranker"."""
    from gguf_checkpoint import write_reranker_gguf
    from real_servers import llama_cpp_server

    folder = tmp_path_factory.mktemp("llama-cpp-reranker")
    gguf = write_reranker_gguf(MINI / "reranker", folder / "reranker.gguf")
    log = folder / "log"
    with llama_cpp_server(gguf, name="reranker", context_tokens=1024, log=log, task="reranking") as url:
        yield url


@pytest.fixture(scope="session")
def transformers_serve_url(chat_folder: Path) -> Iterator[str]:
    """A real `transformers serve` of that checkpoint; the model is called `chat_checkpoint.CHAT_MODEL`."""
    from real_servers import transformers_server

    with transformers_server(chat_folder, log=chat_folder.parent / "transformers.log") as url:
        yield url


@pytest.fixture(scope="session")
def milvus_2_3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """A real standalone server 2.3.5, shared: each test takes collections of its own."""
    from milvus_servers import standalone_server

    with standalone_server(tmp_path_factory.mktemp("milvus-2.3")) as server:
        yield server


@pytest.fixture(scope="session")
def milvus_2_3(milvus_2_3_server: Standalone) -> str:
    """Its URI."""
    return milvus_2_3_server.uri


@pytest.fixture(scope="session")
def lite_server_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a `milvus-lite server`; each test that uses it takes collections of its own."""
    from milvus_servers import lite_server

    with lite_server(tmp_path_factory.mktemp("lite-server") / "data") as (uri, _):
        yield uri
