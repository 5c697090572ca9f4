"""The console script, run in this process on the mini models, Milvus Lite and a real llama.cpp server."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scripted_chat import Reply
from scripted_chat import Vllm as VllmChat
from scripted_retrieval import LlamaCpp
from typer.testing import CliRunner, Result

from langchain_qwen3 import Qwen3Embeddings, Qwen3Rerank, create_vector_store
from qwen3_cli import app, render
from qwen3_cli.demo_server import smollm2_server
from qwen3_cli.options import AnswerOptions, StoreOptions
from qwen3_cli.with_langchain import make_chat

MINI = ("--embedding", "mini")
MINI_BOTH = (*MINI, "--reranker", "mini")
SECTIONS = 600  # ten batches
QUESTION = "How is data stored?"

needs_llama_index = pytest.mark.skipif(
    importlib.util.find_spec("llama_index") is None, reason="LlamaIndex is not installed"
)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("DASHSCOPE_API_KEY", "QWEN3_API_KEY", "MILVUS_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "storage.md").write_text(
        "# Storage\n\nVectors and logs are kept in object storage.\n\n# Pets\n\nCats sleep."
    )
    (folder / "etcd.txt").write_text("etcd keeps the metadata of all collections.")
    return folder


@pytest.fixture
def indexed(docs: Path, tmp_path: Path) -> str:
    uri = str(tmp_path / "milvus.db")
    result = run("index", docs, "--uri", uri, *MINI)
    assert result.exit_code == 0, result.output
    return uri


@pytest.fixture(scope="module")
def chat_url() -> Iterator[str]:
    with smollm2_server(threads=1) as url:
        yield url


def test_index_twice_adds_nothing(docs: Path, tmp_path: Path) -> None:
    arguments = ("index", docs, "--uri", tmp_path / "milvus.db", *MINI, "--json")
    first, second = json.loads(run(*arguments).stdout), json.loads(run(*arguments).stdout)
    assert first.pop("seconds") > 0
    assert first == {
        "collection": "docs",
        "uri": str(tmp_path / "milvus.db"),
        "added": 2,
        "replaced": 0,
        "skipped": 0,
        "removed": 0,
        "failed": [],
        "chunks": 3,
        "chunks_added": 3,
        "chunks_removed": 0,
        "note": "",
    }
    assert (second["skipped"], second["chunks"], second["chunks_added"]) == (2, 3, 0)
    (docs / "more.md").write_text("# More\n\nA new page.")
    assert json.loads(run(*arguments).stdout)["added"] == 1


def test_index_shows_progress_and_a_summary(docs: Path, tmp_path: Path) -> None:
    result = run("index", docs, "--uri", tmp_path / "milvus.db", *MINI)
    assert "embedding" in result.stderr
    assert "2/2 files, 3 chunks" in result.stderr
    assert "a second" in result.stderr
    assert "3 chunks in 'docs'" in result.stdout
    assert "│ added    │ 2 │" in result.stdout


def test_index_prunes_when_told(docs: Path, tmp_path: Path) -> None:
    arguments = ("index", docs, "--uri", tmp_path / "milvus.db", *MINI, "--json")
    run(*arguments)
    (docs / "etcd.txt").unlink()
    kept, pruned = json.loads(run(*arguments).stdout), json.loads(run(*arguments, "--prune").stdout)
    assert (kept["removed"], kept["chunks_removed"]) == (0, 0)
    assert (pruned["removed"], pruned["chunks_removed"]) == (1, 1)


def test_index_counts_the_embeddings_own_tokens(docs: Path, tmp_path: Path) -> None:
    (docs / "storage.md").write_text(" ".join(f"word{n}" for n in range(200)))
    uri = ("--uri", tmp_path / "milvus.db")
    few = json.loads(run("index", docs, *uri, *MINI, "--chunk-tokens", "20", "--json").stdout)
    many = json.loads(run("index", docs, *uri, *MINI, "--chunk-size", "2000", "--json").stdout)
    assert few["chunks"] > 10
    assert (many["chunks"], many["replaced"], many["skipped"]) == (2, 1, 1), "the short file is one passage in both"
    both = run("index", docs, *uri, *MINI, "--chunk-size", "9", "--chunk-tokens", "9")
    assert both.exit_code == 1
    assert "not both" in both.stderr


def test_index_keeps_its_manifest_where_it_is_told(docs: Path, tmp_path: Path) -> None:
    result = run("index", docs, "--uri", tmp_path / "a.db", *MINI)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.db.manifest").is_file()
    run("index", docs, "--uri", tmp_path / "b.db", *MINI, "--manifest", tmp_path / "notes")
    assert (tmp_path / "notes").is_file()
    assert not (tmp_path / "b.db.manifest").exists()


def test_search_shows_both_orders(indexed: str) -> None:
    result = run("search", QUESTION, "--uri", indexed, *MINI_BOTH, "--top-n", "2")
    assert result.exit_code == 0, result.output
    for text in ("by vector", "after reranking", "vector", "rerank", "storage.md", "Top 2 of 3"):
        assert text in result.stdout


def test_search_json(indexed: str) -> None:
    found = json.loads(run("search", QUESTION, "--uri", indexed, *MINI_BOTH, "--top-n", "2", "--json").stdout)
    assert len(found) == 2
    assert {"retrieval_score", "relevance_score", "source", "heading", "title"} <= found[0]["metadata"].keys()
    assert found[0]["metadata"]["relevance_score"] >= found[1]["metadata"]["relevance_score"]


def test_search_without_a_reranker(indexed: str) -> None:
    result = run("search", QUESTION, "--uri", indexed, *MINI, "--reranker", "none")
    assert "after reranking" not in result.stdout
    assert "Storage" in result.stdout


def test_ask_a_real_server(indexed: str, chat_url: str) -> None:
    result = run("ask", QUESTION, "--uri", indexed, *MINI_BOTH, "--chat", chat_url, "--max-tokens", "24", "--json")
    assert result.exit_code == 0, result.output
    output = json.loads(result.stdout)
    assert set(output) == {"input", "context", "answer", "reasoning", "citations"}
    assert output["answer"]
    assert len(output["context"]) == 3
    shown = run("ask", QUESTION, "--uri", indexed, *MINI_BOTH, "--chat", chat_url, "--max-tokens", "24")
    assert "answer" in shown.stdout
    assert "[1]" in shown.stdout


def test_demo(docs: Path, tmp_path: Path) -> None:
    arguments = ("demo", docs, "-q", QUESTION, "--uri", tmp_path / "demo.db", "--max-tokens", "16")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    for text in ("Top 3 of 3", "after reranking", "answer", "[1]"):
        assert text in result.stdout
    for text in ("SmolLM2-135M stands in", "DASHSCOPE_API_KEY", "--chat http://", "3 chunks", ": 3 new"):
        assert text in result.stderr
    assert ": 0 new" in run(*arguments).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("index", "no/such"), "no such file or folder"),
        (("index", "no/such", "--prune"), "milvus.db does not exist; index something first"),
        (("search", "q", "--uri", "no.db"), "no.db does not exist; index something first: qwen3-rag index PATH"),
        (("search", " "), "the query is empty"),
        (("ask", "q"), "DASHSCOPE_API_KEY"),
        (("ask", "q", "--chat", "http://127.0.0.1:9/v1"), "correct the URL"),
        (("ask", "q", "--chat", "http://127.0.0.1:9/v1", "--thinking-budget", "9"), "name yours, server="),
    ],
)
def test_errors_say_what_to_do(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert message in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == [], "nothing was made"


def test_what_a_component_refuses_is_told_in_its_own_words(tmp_path: Path) -> None:
    pytest.importorskip("ir_measures")
    squad = {"data": [{"title": "t", "paragraphs": [{"context": "c", "qas": [{"question": "q", "id": "1"}]}]}]}
    (tmp_path / "squad.json").write_text(json.dumps(squad))
    with LlamaCpp().serve() as url:
        where = ("--reranker", url, "--reranker-server", "llama.cpp", "--reranker-key", "sk-4711")
        told = run(
            "evaluate", "--dataset", tmp_path / "squad.json", "--instruction", "code", *MINI, *where, "--out", tmp_path
        )
    assert told.exit_code == 1
    assert told.stderr.strip() == (
        "error: server='llama.cpp' takes no instruction with a request: its instruction is part of the model's file"
    )


def test_a_refusal_repeats_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    for refused in ({"top_n": "sk-4711"}, {"secret": "sk-4711", "top_n": 0}):
        with pytest.raises(ValueError, match="validation error") as raised:
            Qwen3Rerank(model="mini", **refused)
        render.print_error(Console(width=200), raised.value)
    assert capsys.readouterr().out == (
        "error: top_n: Input should be a valid integer, unable to parse string as an integer\n"
        "error: top_n: Input should be greater than or equal to 1; secret: Extra inputs are not permitted\n"
    )


def test_what_comes_from_outside_is_shown_and_not_obeyed(tmp_path: Path, chat_url: str) -> None:
    bad, strange = tmp_path / "bad.md", "[red]:key:"
    bad.write_text("\x1b[2Jgone \x9b5n \x1b]0;title\x07 [/nope] [red]x :key:")
    question, there, other = "gone \x1b[2J [/nope] :key:", tmp_path / "milvus.db", tmp_path / f"{strange}.db"
    models = (*MINI_BOTH, "--chat", chat_url, "--max-tokens", "8")
    assert run("index", bad, "--uri", there, *MINI).exit_code == 0
    for shown, command in (
        ("�[2Jgone �5n �]0;title� [/nope] [red]x :key:", ("search", question, "--uri", there, *MINI_BOTH)),
        ("[1] ", ("ask", question, "--uri", there, *models)),
        ("�[2J[/nope]�.db does not exist", ("search", question, "--uri", "\x1b[2J[/nope]\udcff.db")),
        ("gone �[2J [/nope] :key:", ("demo", bad, "-q", question, "--uri", other, *models)),
        (strange, ("export", tmp_path / strange, "--uri", there)),
        (f"{strange}.db: 1 new", ("import", tmp_path / strange, "--uri", other)),
    ):
        result = run(*command)
        assert result.exit_code == (1 if "does not exist" in shown else 0), result.output
        assert shown in " ".join(result.output.split())
        assert not re.search(r"[\x07\x1b\x7f-\x9f\ud800-\udfff]", result.output)


@pytest.mark.parametrize("framework", ["langchain", pytest.param("llamaindex", marks=needs_llama_index)])
def test_tenants_see_their_own_documents_only(docs: Path, tmp_path: Path, framework: str) -> None:
    place = ("--uri", tmp_path / "milvus.db", "--framework", framework)
    assert run("index", docs, *place, *MINI, "--tenant", "a").exit_code == 0
    assert run("index", docs / "etcd.txt", *place, *MINI, "--tenant", "b").exit_code == 0
    for tenant, count in (("a", 3), ("b", 1)):
        result = run("search", QUESTION, *place, *MINI_BOTH, "--tenant", tenant, "--json")
        assert len(json.loads(result.stdout)) == count
    forgotten = run("search", QUESTION, *place, *MINI_BOTH)
    assert forgotten.exit_code == 1
    assert "has tenants: say whose rows are meant" in " ".join(forgotten.stderr.split())


@pytest.mark.parametrize("framework", ["langchain", pytest.param("llamaindex", marks=needs_llama_index)])
def test_full_text_finds_an_identifier_where_it_is_asked_for(docs: Path, tmp_path: Path, framework: str) -> None:
    place = ("--uri", tmp_path / "milvus.db", "--framework", framework, "--hybrid", "--reranker", "none")
    for number in range(12):
        (docs / f"part-{number}.txt").write_text(f"The part XK-{4711 + number} is a screw made of steel.")
    assert run("index", docs, *place[:4], *MINI, "--hybrid").exit_code == 0
    found = json.loads(run("search", "XK-4717", *place, *MINI, "--top-n", "1", "--json").stdout)
    assert found[0]["text"] == "The part XK-4717 is a screw made of steel."
    other = run("search", "XK-4717", *place, *MINI, "--analyzer", "jieba")
    assert other.exit_code == 1
    assert "analyzer" in other.stderr


def test_more_results_than_candidates(indexed: str) -> None:
    result = run("search", "q", "--uri", indexed, *MINI_BOTH, "--fetch-k", "2", "--top-n", "3")
    assert result.exit_code == 1
    assert "--fetch-k 2 is less than --top-n 3" in result.stderr


def test_another_collection_is_not_there(indexed: str) -> None:
    result = run("search", "q", "--uri", indexed, *MINI_BOTH, "--collection", "other")
    assert "there is no collection 'other'" in " ".join(result.stderr.split())


def test_an_index_of_another_embedding_is_refused(indexed: str, docs: Path, embedding_folder: Path) -> None:
    result = run("index", docs, "--uri", indexed, "--embedding", embedding_folder)
    assert result.exit_code == 1
    error = " ".join(result.stderr.split())
    assert "mini" in error
    assert embedding_folder.name in error.replace(" ", "")


def test_one_bad_file_does_not_stop_the_others(docs: Path, tmp_path: Path) -> None:
    (docs / "bad.md").write_bytes(b"\xff\xfe\x00binary")
    arguments = ("index", docs, "--uri", tmp_path / "milvus.db", *MINI)
    shown = run(*arguments)
    assert shown.exit_code == 1, "a program that calls it has to notice"
    assert "bad.md: is binary, or text in UTF-16" in " ".join(shown.stdout.split())
    told = run(*arguments, "--skip-unreadable", "--json")
    assert told.exit_code == 0
    assert json.loads(told.stdout)["chunks"] == 3
    assert [each["source"] for each in json.loads(told.stdout)["failed"]] == [str(docs / "bad.md")]


def test_the_token_shows_nowhere(docs: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
    result = run("index", docs, "--uri", uri, "--token", "root:secret-token", *MINI)
    assert result.exit_code == 1
    assert "No server answers" in result.stderr
    assert "secret-token" not in result.output
    assert "secret-token" not in repr([StoreOptions(token="secret-token"), AnswerOptions(key="secret-token")])


def test_a_url_names_the_model_it_serves(chat_url: str) -> None:
    chat = make_chat(AnswerOptions(chat=chat_url, think=False))
    assert chat.model_name == "smollm2-135m-instruct"
    assert chat.enable_thinking is False
    assert make_chat(AnswerOptions(chat=chat_url, model="other", key="k")).model_name == "other"


def test_dashscope_models_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "k")
    chat = make_chat(AnswerOptions(chat="qwen3-32b", think=True, thinking_budget=100))
    assert (chat.model_name, chat.enable_thinking, chat.thinking_budget) == ("qwen3-32b", True, 100)
    assert make_chat(AnswerOptions()).model_name == "qwen-plus"


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_keeps_what_is_stored_and_the_next_run_goes_on(tmp_path: Path) -> None:
    docs, uri = tmp_path / "docs", str(tmp_path / "milvus.db")
    docs.mkdir()
    text = "".join(f"# Section {n}\n\n{'Some words about storage. ' * 30}{n}\n\n" for n in range(SECTIONS))
    (docs / "long.md").write_text(text)
    command: list[Any] = [sys.executable, "-m", "qwen3_cli", "index", str(docs), "--uri", uri, *MINI]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for_rows(Path(uri))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on from there" in " ".join(errors.split())
    with create_vector_store(Qwen3Embeddings(model="mini"), uri=uri) as store:
        kept = store.client.query("docs", filter="", output_fields=["count(*)"])[0]["count(*)"]
    assert 0 < kept < SECTIONS
    result = run("index", docs, "--uri", uri, *MINI, "--json")
    assert json.loads(result.stdout)["chunks_added"] == SECTIONS - kept


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_promises_nothing_where_nothing_is_stored() -> None:
    def interrupt(*_: Any) -> Reply:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        return Reply("too late")

    with VllmChat(models=("Qwen/Qwen3-8B",), brain=interrupt).serve() as url:
        command = [sys.executable, "-m", "qwen3_cli", "doctor", "--chat", url, "--server", "vllm"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (130, "stopped\n")


def wait_for_rows(database: Path) -> None:
    """Wait until something has been written: Lite logs each write in a file of its own folder."""
    import time

    for _ in range(600):
        if [file for file in database.rglob("wal/*") if file.stat().st_size > 0]:
            return
        time.sleep(0.1)
    pytest.fail("nothing was written within a minute")


@needs_llama_index
def test_both_frameworks_find_the_same_passages_with_the_same_scores(indexed: str) -> None:
    found = {}
    for framework in ("langchain", "llamaindex"):
        result = run("search", QUESTION, "--uri", indexed, *MINI_BOTH, "--framework", framework, "--json")
        assert result.exit_code == 0, result.output
        found[framework] = json.loads(result.stdout)
    scores = [
        [(each["metadata"].pop("retrieval_score"), each["metadata"].pop("relevance_score")) for each in passages]
        for passages in found.values()
    ]
    assert scores[0] == [pytest.approx(pair, abs=1e-6) for pair in scores[1]]
    assert found["langchain"] == found["llamaindex"]
    assert len(found["langchain"]) == 3


@needs_llama_index
@pytest.mark.parametrize("reranker", ["mini", "none"])
def test_llamaindex_answers_from_what_langchain_indexed(indexed: str, chat_url: str, reranker: str) -> None:
    arguments = ("ask", QUESTION, "--uri", indexed, *MINI, "--reranker", reranker, "--chat", chat_url, "--json")
    result = run(*arguments, "--max-tokens", "16", "--framework", "llamaindex")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert set(answer) == {"input", "context", "answer", "reasoning", "citations"}
    assert answer["answer"]
    assert len(answer["context"]) == 3
    assert ("relevance_score" in answer["context"][0]["metadata"]) == (reranker == "mini")


@needs_llama_index
def test_llamaindex_goes_on_indexing_where_langchain_stopped(indexed: str, docs: Path) -> None:
    (docs / "more.md").write_text("# More\n\nA new page.")
    result = run("index", docs, "--uri", indexed, *MINI, "--framework", "llamaindex", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["added"], found["skipped"], found["chunks"]) == (1, 2, 4)


@needs_llama_index
def test_llamaindex_says_what_is_missing(tmp_path: Path, indexed: str) -> None:
    for uri, collection in ((str(tmp_path / "no.db"), "docs"), (indexed, "other")):
        result = run(
            "search", QUESTION, "--uri", uri, "--collection", collection, *MINI_BOTH, "--framework", "llamaindex"
        )
        assert result.exit_code == 1
        assert "index something first" in result.stderr
    assert not (tmp_path / "no.db").exists()


def test_a_framework_that_is_not_installed(indexed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "qwen3_cli.with_llamaindex", raising=False)
    monkeypatch.setitem(sys.modules, "llama_index.core.schema", None)  # as if
    result = run("search", QUESTION, "--uri", indexed, *MINI_BOTH, "--framework", "llamaindex")
    assert result.exit_code == 1
    assert 'pip install "qwen3-rag[llamaindex,local]"' in result.stderr
