"""Deep search with reasoning in all steps, in none and where it pays, beside plain two-stage RAG, in one run.

Thirty questions of two and three hops, half about this project's FAQ and half about XQuAD's paragraphs, and for each
hop one right passage. The strategies take turns, question by question, over the same store, so that noise of the
machine hits all of them alike. The chat model is a server's, or a scripted one that reads well. Writes
``deep_search.md``.

    python benchmarks/deep_search.py --xquad xquad.en.json
    python benchmarks/deep_search.py --xquad xquad.en.json --chat http://127.0.0.1:8000/v1
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import Runnable
from rich.progress import track

from langchain_qwen3 import (
    ChatQwen3,
    Qwen3Embeddings,
    Qwen3Rerank,
    Qwen3Retriever,
    create_deep_search,
    create_rag_chain,
    create_vector_store,
)
from langchain_qwen3.deep_search_steps import usage_of
from qwen3_cli.model_options import EmbeddingOptions, RerankerOptions
from qwen3_cli.options import ChatOptions
from qwen3_cli.with_langchain import make_chat
from qwen3_core.deep_search.course import NO_USAGE, THINKING, add_usage
from qwen3_core.evaluation.readers import read_dataset
from qwen3_core.ingest import load_chunks

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from deep_search_reader import Question, Reader, read_questions, require_gold
from deep_search_report import ALWAYS, MANY, NEVER, PER_STEP, PLAIN, PLAIN_MANY, TOP_N, Run, report
from scripted_chat import Vllm

FAQ = Path(__file__).parent.parent / "docs" / "faq"
REPORT = Path(__file__).with_suffix(".md")
SCRIPTED = "Qwen/Qwen3-8B"
FETCH_K = 10
PACE = 500.0  # tokens a second: thinking takes its share of the time, and all of it takes minutes

Retrievers = Mapping[int, Runnable[str, list[Document]]]
"""Two-stage retrievers by how many passages they give."""


class Meter(BaseCallbackHandler):
    """Counts the calls of a chat model and their tokens."""

    def __init__(self) -> None:
        self.calls, self.usage = 0, NO_USAGE

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        """Count a reply."""
        self.calls += 1
        generation = response.generations[0][0]
        message = generation.message if isinstance(generation, ChatGeneration) else None
        if isinstance(message, AIMessage):
            self.usage = add_usage(self.usage, usage_of(message))


def strategies(retrievers: Retrievers, chat: ChatQwen3) -> dict[str, Runnable[Any, Any]]:
    """Return what is compared, by name."""
    quiet = chat.model_copy(update={"enable_thinking": False})
    steps = ("plan", "reflect", "rewrite", "report")

    def deep(think: Any) -> Runnable[Any, Any]:
        return create_deep_search(retrievers[TOP_N], chat, think=think)

    return {
        PLAIN: create_rag_chain(retrievers[TOP_N], quiet),
        PLAIN_MANY: create_rag_chain(retrievers[MANY], quiet),
        NEVER: deep(dict.fromkeys(steps, False)),
        PER_STEP: deep(THINKING),
        ALWAYS: deep(dict.fromkeys(steps, True)),
    }


def ask(strategy: Runnable[Any, Any], question: Question) -> Run:
    """Run one strategy on one question."""
    meter, started = Meter(), time.perf_counter()
    output = strategy.invoke({"input": question.text}, {"callbacks": [meter]})
    seconds = time.perf_counter() - started
    cited = [output["context"][citation["number"] - 1].page_content for citation in output["citations"]]
    covered = [any(hop.is_in(passage) for passage in cited) for hop in question.hops]
    return Run(
        question.id,
        sum(covered) / len(covered),
        sum(map(question.is_gold, cited)) / len(cited) if cited else None,
        meter.calls,
        meter.usage["input"],
        meter.usage["output"],
        meter.usage["reasoning"],
        seconds,
        tuple(output.get("notes", ())),
    )


def compare(
    questions: Sequence[Question], chat: ChatQwen3, models: Mapping[str, str], corpora: Mapping[str, Sequence[str]]
) -> dict[str, list[Run]]:
    """Ask every question of every strategy, in turns.

    Args:
        questions: The questions.
        chat: The chat model.
        models: The names of the "embedding" and the "reranker".
        corpora: The passages of each corpus.
    """
    runs: dict[str, list[Run]] = {}
    with ExitStack() as stack:
        made = {
            name: strategies(stack.enter_context(_stored(passages, models)), chat) for name, passages in corpora.items()
        }
        for turn, question in enumerate(track(questions, "questions", disable=not sys.stderr.isatty())):
            known = made[question.corpus]
            names = list(known)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                runs.setdefault(name, []).append(ask(known[name], question))
    return {name: runs[name] for name in (PLAIN, PLAIN_MANY, NEVER, PER_STEP, ALWAYS)}


@contextmanager
def _stored(passages: Sequence[str], models: Mapping[str, str]) -> Iterator[Retrievers]:
    embeddings = Qwen3Embeddings(**EmbeddingOptions(name=models["embedding"]).arguments())
    reranker = Qwen3Rerank(**RerankerOptions(name=models["reranker"]).arguments())
    with (
        tempfile.TemporaryDirectory(prefix="deep-search-") as folder,
        create_vector_store(embeddings, uri=Path(folder) / "passages.db") as store,
    ):
        store.add_texts(passages)
        yield {
            count: Qwen3Retriever(
                vector_store=store, reranker=reranker.model_copy(update={"top_n": count}), fetch_k=FETCH_K
            )
            for count in (TOP_N, MANY)
        }


def read_corpora(xquad: Path | None) -> dict[str, list[str]]:
    """Return the passages of the FAQ, and of XQuAD if there is its file."""
    corpora = {"faq": [chunk.text for chunk in load_chunks([FAQ])]}
    if xquad is not None:
        corpora["xquad"] = list(read_dataset(xquad).documents.values())
    return corpora


@contextmanager
def chat_model(options: argparse.Namespace, questions: Sequence[Question]) -> Iterator[tuple[ChatQwen3, str]]:
    """Give the chat model, and what the report says of it."""
    if options.chat is not None:
        key = os.environ.get("QWEN3_API_KEY")
        chat = make_chat(ChatOptions(chat=options.chat, model=options.chat_model, key=key, server=options.server))
        yield chat, f"{chat.model_name}, on a server"
        return
    reader = Reader(questions, options.pace)
    with Vllm(models=(SCRIPTED,), brain=reader).serve() as url:
        pace = f"{options.pace:g} tokens a second" if options.pace else "at once"
        said = (
            "scripted, no real one: it knows which facts a question needs, takes the passages that hold their words "
            "for right, and cites them, so its precision is 1. It says the same whether it thinks or not, and thinks a "
            "sentence about each passage: the table shows what rounds of search find and what thinking costs, not what "
            f"thinking is good for. Its tokens are words, and it writes {pace}"
        )
        yield ChatQwen3(model=SCRIPTED, base_url=url, server="vllm"), said


def main(arguments: Sequence[str] | None = None) -> dict[str, list[Run]]:
    """Run all of it, write the report, and return what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--xquad", type=Path, help="xquad.en.json; without it the questions about the FAQ alone are asked"
    )
    parser.add_argument("--chat", help="URL of a chat server, or a DashScope model; else a scripted model")
    parser.add_argument("--chat-model", help="the model's name on that server")
    parser.add_argument("--server", default="auto", help="what that server is")
    parser.add_argument("--embedding", default="mini", help="a hub name, a folder or a URL")
    parser.add_argument("--reranker", default="mini", help="a hub name, a folder or a URL")
    parser.add_argument("--pace", type=float, default=PACE, help="tokens a second of the scripted model; 0: at once")
    parser.add_argument("--limit", type=int, help="ask the first questions of each corpus only")
    parser.add_argument("--out", type=Path, default=REPORT)
    options = parser.parse_args(arguments)
    corpora, all_ = read_corpora(options.xquad), read_questions()
    questions: list[Question] = []
    for corpus, passages in corpora.items():
        of_corpus = [question for question in all_ if question.corpus == corpus]
        require_gold(of_corpus, passages)
        questions += of_corpus[: options.limit]
    with chat_model(options, questions) as (chat, said):
        models = {"embedding": options.embedding, "reranker": options.reranker}
        runs = compare(questions, chat, models, corpora)
    settings = {
        "chat model": said,
        "retrieval": f"embedding {options.embedding}, the best {FETCH_K} reranked by {options.reranker}",
        "passages": ", ".join(f"{len(passages)} of {corpus}" for corpus, passages in corpora.items()),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    text = report(runs, questions, settings)
    options.out.write_text(text, encoding="utf-8")
    print(text)
    return runs


if __name__ == "__main__":
    main()
