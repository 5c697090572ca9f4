"""Who may import whom, what a package exports, and that importing one is cheap and quiet."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("qwen3_core", "langchain_qwen3", "llamaindex_qwen3", "qwen3_cli")
ENGINE = ("qwen3_core/checkpoint.py", "qwen3_core/engine/")
HEAVY = {"torch", "transformers", "tokenizers", "huggingface_hub", "sentence_transformers", "xllamacpp"}
# The MCP server is the only place that knows the protocol, and only its command imports it, when it runs.
MCP_SERVER = {"qwen3_cli/mcp_announced.py", "qwen3_cli/mcp_server.py", "qwen3_cli/mcp_transport.py"}
MCP = {"anyio", "mcp", "mcp_types", "starlette", "uvicorn"}
# What a package may import at the top of its files, besides itself and the standard library.
ALLOWED = {
    "qwen3_core": {"markdown_it", "mdit_py_plugins", "semantic_text_splitter"},
    "langchain_qwen3": {
        "langchain_core", "langchain_milvus", "langchain_openai", "openai", "pydantic", "qwen3_core", "rich", "typer",
        "typing_extensions",
    },
    "qwen3_cli": {
        "langchain_core", "langchain_qwen3", "llama_index", "llamaindex_qwen3", "openai", "qwen3_core", "rich", "typer",
    },
    "llamaindex_qwen3": {
        "llama_index", "llama_index_instrumentation", "openai", "pydantic", "qwen3_core", "typing_extensions",
    },
}  # fmt: skip


def python_files() -> list[Path]:
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs on import; `if TYPE_CHECKING:` does not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from outside_functions(node)


@pytest.mark.parametrize("file", python_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_arrows_point_one_way(file: Path) -> None:
    package = file.relative_to(ROOT).parts[0]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    everywhere = imported(ast.walk(tree))
    if package != "qwen3_cli":
        assert not everywhere & (set(PACKAGES) - {package, "qwen3_core"}), "adapters know the core, and nobody else"
    elif not file.stem.startswith("with_"):
        assert not everywhere & {"langchain_qwen3", "llamaindex_qwen3"}, "a framework is imported when it is asked for"
    if package == "qwen3_core":
        assert not {name for name in everywhere if name.startswith(("langchain", "llama_index"))}
    assert not (package == "langchain_qwen3" and "llama_index" in everywhere)
    assert not (package == "llamaindex_qwen3" and {name for name in everywhere if name.startswith("langchain")})
    at_the_top = imported(outside_functions(tree)) - sys.stdlib_module_names - {package}
    if file.relative_to(ROOT).as_posix().startswith(ENGINE):
        at_the_top -= HEAVY
    if file.relative_to(ROOT).as_posix() in MCP_SERVER:
        at_the_top -= MCP
    if "testing" in file.parts or file.name == "testing.py":
        at_the_top -= {"pytest"}
    assert at_the_top <= ALLOWED[package]


@pytest.mark.parametrize("package", PACKAGES)
def test_all_is_what_is_there(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name).__doc__, f"{name} has no docstring"


def test_exported_members() -> None:
    import langchain_qwen3
    import llamaindex_qwen3
    import qwen3_core

    assert qwen3_core.__all__ == [
        "Embedder", "LocalChat", "LocalEmbedder", "LocalReranker", "PartialError", "RemoteEmbedder", "RemoteReranker",
        "Reranker", "ServerError",
    ]  # fmt: skip
    assert langchain_qwen3.__all__ == [
        "And", "ChatQwen3", "ChatQwen3Local", "Expression", "Field", "In", "Not", "Or", "Qwen3Embeddings",
        "Qwen3Rerank", "Qwen3Retriever", "aindex_documents", "compare_retrieval", "create_deep_search",
        "create_rag_chain", "create_vector_store", "index_documents", "raw",
    ]  # fmt: skip
    assert llamaindex_qwen3.__all__ == [
        "And", "Expression", "Field", "In", "Not", "Or", "Qwen3", "Qwen3Embedding", "Qwen3Local", "Qwen3Rerank",
        "aindex_documents", "collect_reasoning", "create_deep_search", "create_query_engine", "create_vector_store",
        "index_documents", "raw",
    ]  # fmt: skip


@pytest.mark.parametrize("module", [*PACKAGES, "qwen3_cli.demo_server", "llamaindex_qwen3.testing"])
def test_importing_loads_no_engine_and_starts_nothing(module: str) -> None:
    program = (
        "import socket, sys, threading\n"
        "def refuse(*_, **__): raise AssertionError('network at import')\n"
        "socket.socket.connect = refuse\n"
        f"import {module}\n"
        f"assert not {HEAVY | {'mcp'}!r} & set(sys.modules), {HEAVY | {'mcp'}!r} & set(sys.modules)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_making_components_loads_no_engine() -> None:
    program = (
        "import sys\n"
        "from langchain_qwen3 import ChatQwen3, ChatQwen3Local, Qwen3Embeddings, Qwen3Rerank\n"
        "Qwen3Embeddings(); Qwen3Rerank(); ChatQwen3(base_url='http://127.0.0.1:1/v1'); ChatQwen3Local()\n"
        "from llamaindex_qwen3 import Qwen3, Qwen3Embedding, Qwen3Local, Qwen3Rerank as NodeRerank\n"
        "Qwen3Embedding(); NodeRerank(); Qwen3(api_base='http://127.0.0.1:1/v1'); Qwen3Local()\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


@pytest.mark.parametrize("package", PACKAGES)
def test_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
