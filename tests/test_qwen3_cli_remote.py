"""`qwen3-rag` with models on servers: index, search and ask as with local weights, and what `doctor` says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from scripted_chat import Vllm as VllmChat
from scripted_retrieval import SERVERS, DashScope, LlamaCpp, Tei, Vllm
from typer.testing import CliRunner, Result

from qwen3_cli import app

TEXTS = ["Cats sleep all day.", "Milvus stores inserted data in object storage.", "The capital of China is Beijing."]
QUESTION = "How is data stored in Milvus?"
FRAMEWORKS = [
    pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"no {module}"))
    for name, module in (("langchain", "langchain_milvus"), ("llamaindex", "llama_index"))
]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, text in enumerate(TEXTS):
        (tmp_path / f"{number}.txt").write_text(text)
    return tmp_path


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_ask_runs_with_servers_as_with_local_weights(
    framework: str, folder: Path, llama_cpp_embedding_url: str, llama_cpp_reranker_url: str
) -> None:
    common = ["--uri", folder / "milvus.db", "--framework", framework, "--json"]
    common += ["--embedding", llama_cpp_embedding_url, "--embedding-server", "llama.cpp"]
    indexed = run("index", *folder.glob("*.txt"), *common)
    assert indexed.exit_code == 0, indexed.output
    assert json.loads(indexed.stdout)["chunks_added"] == len(TEXTS)
    common += ["--reranker", llama_cpp_reranker_url, "--reranker-server", "llama.cpp"]
    found = json.loads(run("search", QUESTION, *common).stdout)
    assert found[0]["text"].strip() == TEXTS[1]
    assert found[0]["metadata"]["relevance_score"] > 0.9
    with VllmChat(models=("Qwen/Qwen3-8B",), content="In object storage [1].").serve() as chat:
        answered = run("ask", QUESTION, *common, "--chat", chat, "--no-think")
    assert answered.exit_code == 0, answered.output
    answer = json.loads(answered.stdout)
    assert answer["answer"] == "In object storage [1]."
    assert answer["context"][0]["text"].strip() == TEXTS[1]


def test_what_is_indexed_here_is_searched_on_a_server(folder: Path, llama_cpp_embedding_url: str) -> None:
    pytest.importorskip("langchain_milvus")
    store = ["--uri", folder / "milvus.db", "--reranker", "none", "--json"]
    assert run("index", *folder.glob("*.txt"), *store[:2], "--embedding", "mini").exit_code == 0
    server = ["--embedding", llama_cpp_embedding_url, "--embedding-server", "llama.cpp"]
    found = run(
        "search", QUESTION, *store, *server, "--embedding-model", "mini"
    )  # the name says whose vectors they are
    assert json.loads(found.stdout)[0]["text"].strip() == TEXTS[1]
    refused = run("search", QUESTION, *store, *server)
    assert refused.exit_code == 1
    assert "cannot be compared" in " ".join(refused.output.split())


def test_options_of_no_server_are_refused() -> None:
    for option in ("--embedding-model", "--embedding-server", "--reranker-model", "--reranker-server"):
        refused = run("search", QUESTION, option, "vllm")
        assert refused.exit_code == 1
        assert "are about the URL of" in " ".join(refused.output.split())


def test_a_server_that_lists_several_models_wants_a_name(folder: Path) -> None:
    with Vllm(models=("one", "two")).serve() as url:
        refused = run("index", folder / "0.txt", "--uri", folder / "milvus.db", "--embedding", url)
    assert refused.exit_code == 1
    assert "the server lists one, two" in " ".join(refused.output.split())


def test_doctor_on_real_servers(llama_cpp_embedding_url: str, llama_cpp_reranker_url: str) -> None:
    asked = run("doctor", "--embedding", llama_cpp_embedding_url, "--reranker", llama_cpp_reranker_url)
    assert asked.exit_code == 0, asked.output
    assert asked.output.count("Known texts come out as they should.") == 2
    assert asked.output.count('server: "llama.cpp"') == 2
    found = json.loads(run("doctor", "--embedding", llama_cpp_embedding_url, "--json").stdout)
    assert (found["asked_as"], found["model"], found["findings"]) == ("llama.cpp", "embedding", [])


@pytest.mark.parametrize("word", sorted({*SERVERS} - {"dashscope", "dashscope-native", "openai"}))
def test_doctor_tells_servers_apart(word: str) -> None:
    server = SERVERS[word]()
    with server.serve() as url:
        found = json.loads(run("doctor", "--embedding", url, "--embedding-model", server.name, "--json").stdout)
    assert (found["asked_as"], found["findings"]) == (word, [])


@pytest.mark.parametrize(
    ("task", "server", "said"),
    [
        ("embedding", LlamaCpp(appends_end_token=False), "<|endoftext|>"),
        ("embedding", Vllm(nan_texts=frozenset({"importance of trees"})), "bfloat16"),
        ("embedding", Tei(unnormalised=True), "instead of 1"),
        ("reranker", Vllm(served_template=False), "--chat-template qwen3_reranker.jinja"),
        ("reranker", Vllm(ignores_instruction=True), "vllm#42412"),
    ],
    ids=str,
)
def test_doctor_names_what_is_wrong_and_its_fix(task: str, server: Vllm | Tei | LlamaCpp, said: str) -> None:
    with server.serve() as url:
        asked = run("doctor", f"--{task}", url, f"--{task}-model", server.name)
    assert asked.exit_code == 1
    assert said in " ".join(asked.output.split())


def test_doctor_needs_a_url_and_keeps_keys() -> None:
    assert "say which server to ask" in run("doctor").output
    server = DashScope()
    with server.serve() as url:
        asked = run("doctor", "--embedding", url, "--embedding-key", "sk-wrong-key", "--embedding-server", "dashscope")
    assert asked.exit_code == 1
    assert "sk-wrong-key" not in asked.output
