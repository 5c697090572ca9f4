"""`qwen3-rag evaluate`: how well dense, BM25 and hybrid search find, with reranking and without."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from qwen3_cli import options
from qwen3_cli.console import print_result, reported
from qwen3_cli.groups import grouped
from qwen3_cli.model_options import EmbeddingOptions, RerankerOptions
from qwen3_cli.render import literal
from qwen3_core.evaluation.measures import DEPTH, check_cutoffs, require_extra
from qwen3_core.evaluation.readers import Format, read_dataset
from qwen3_core.evaluation.report import Report
from qwen3_core.evaluation.systems import Clock, System
from qwen3_core.evaluation.systems import Progress as Told
from qwen3_core.ingest.splitting import DEFAULT_CHUNK_SIZE
from qwen3_core.instructions import INSTRUCTIONS, find_instruction

Data = Annotated[
    Path,
    typer.Option(
        "--dataset", help="A folder of your files, a BEIR folder, or JSON like SQuAD's or CoSQA's; docs/evaluation.md."
    ),
]
Qrels = Annotated[Path | None, typer.Option(help="Judgements instead of the data set's own, as of TREC or BEIR.")]
Queries = Annotated[
    Path | None,
    typer.Option(
        help="Your files' questions, a JSON object with question and answer a line; else queries instead of the data "
        "set's own, under its ids: in another language."
    ),
]
Kind = Annotated[Format, typer.Option("--format", help="How to read the data set, if not by what is there.")]
Split = Annotated[str, typer.Option(help="Which qrels of a BEIR folder.")]
Systems = Annotated[
    str, typer.Option(help="What to compare: all, or some of dense, bm25, hybrid, and each with +rerank, with commas.")
]
ChunkSize = Annotated[int, typer.Option(min=1, help="Characters of a passage of your own files at most.")]
Instruction = Annotated[
    str, typer.Option(help=f"What the queries are for, for both models: a sentence, or {', '.join(INSTRUCTIONS)}.")
]
K = Annotated[str, typer.Option("--k", help=f"The k of each Recall@k, with commas; {DEPTH} at most.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take the first queries only; the documents stay all.")]
Candidates = Annotated[int, typer.Option("--fetch-k", min=1, max=DEPTH, help="Candidates that the reranker orders.")]
Out = Annotated[Path, typer.Option(help="The folder for report.md, report.json and chart.png.")]


@grouped
def evaluate(
    *,
    dataset: Data,
    qrels: Qrels = None,
    queries: Queries = None,
    kind: Kind = "auto",
    split: Split = "test",
    chunk_size: ChunkSize = DEFAULT_CHUNK_SIZE,
    systems: Systems = "all",
    instruction: Instruction = "web-search",
    k: K = "1,10,100",
    limit: Limit = None,
    embedding: EmbeddingOptions,
    reranker: RerankerOptions,
    fetch_k: Candidates = 10,
    analyzer: options.Analyzer = None,
    out: Out = Path("evaluation"),
    as_json: options.Json = False,
) -> None:
    """Measure how well dense, BM25 and hybrid search find the right documents, with reranking and without."""
    with reported() as console:
        require_extra()
        wanted = System.parse(systems, reranker=reranker.reranks)
        cutoffs, task = _numbers(k), find_instruction(instruction)
        read = read_dataset(dataset, qrels=qrels, queries=queries, kind=kind, split=split, chunk_size=chunk_size)
        data = read.limited(limit)
        vectors = any(system.first != "bm25" for system in wanted)
        reranks = any(system.reranks for system in wanted)
        made = _systems()
        arguments = embedding.arguments() if vectors else None, reranker.arguments() if reranks else None
        clock = Clock()
        with _progress(console) as told:
            results = made.compare(
                data,
                *arguments,
                instruction=task,
                systems=wanted,
                analyzer=analyzer,
                cutoffs=cutoffs,
                fetch_k=fetch_k,
                clock=clock,
                progress=told,
            )
        settings = {
            "embedding": embedding.model or embedding.name if vectors else "none",
            "reranker": f"{reranker.model or reranker.name}, of the best {fetch_k}" if reranks else "none",
            "instruction": task,
            "analyzer": analyzer or "standard",
        }
        report = Report(data, settings, results, clock.stages)
        written = ", ".join(map(str, report.write(out)))
        print_result(report.to_dict(), _table(report), literal(f"written: {written}"), as_json=as_json)


def _numbers(text: str) -> list[int]:
    try:
        found = sorted({int(part) for part in text.split(",") if part.strip()})
    except ValueError:
        msg = f"--k {text}: write whole numbers with commas between them, such as 1,10,100"
        raise ValueError(msg) from None
    check_cutoffs(found)
    return found


def _systems() -> Any:
    try:
        return importlib.import_module("qwen3_cli.with_langchain_evaluation")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("langchain"):
            raise
        msg = 'evaluating needs the langchain components: pip install "qwen3-rag[evaluation]"'
        raise ImportError(msg) from error


def _table(report: Report) -> Table:
    heading, *rows = report.rows()
    table = Table(title=f"{len(report.dataset.documents)} documents, {len(report.dataset.queries)} queries")
    for name in heading:
        first = name == "system"
        table.add_column(name, justify="left" if first else "right", no_wrap=first)
    for row in rows:
        table.add_row(*map(literal, row))
    return table


@contextmanager
def _progress(console: Console) -> Iterator[Told]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, Any] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield told
