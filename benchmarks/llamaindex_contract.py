"""Count the checks of the published LlamaIndex contracts that each class passes and write ``llamaindex_contract.md``.

The columns are in ``llamaindex_peers.py``. Each runs in a process of its own, which is started again for the checks
that are left if one ends it. Every figure in the report is computed here.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import inspect
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
PEERS = HERE / "llamaindex_peers.py"
SECONDS = 120
"""How long one check may take."""
SHARED = ["llama-index-core", "sentence-transformers", "transformers", "torch", "openai", "pymilvus", "milvus-lite"]
"""Versions that the report names beside those of the peers."""


# -- one column, in its own process ----------------------------------------------------------------------------


@dataclass
class Recorder:
    """A pytest plugin that writes down each step at once, so that nothing is lost if the process ends."""

    path: Path
    done: set[str]
    failed: dict[str, str] = field(default_factory=dict)

    def note(self, **what: Any) -> None:
        """Append a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(what) + "\n")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Note all cases and leave out those that ran before."""
        self.note(collected=[item.nodeid for item in items])
        items[:] = [item for item in items if item.nodeid not in self.done]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note that a case begins."""
        self.note(started=nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Remember a failure in any phase; what is skipped was not passed."""
        if not report.passed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.failed.setdefault(report.nodeid, str(crash.message if crash else report.longrepr))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Note how a case ended."""
        self.note(finished=nodeid, failure=self.failed.get(nodeid))


def run_column(name: str, path: Path, done: set[str]) -> None:
    """Run what is left of a column and end the process, with any thread that a check left behind."""
    import pytest

    options = ["-q", "-p", "no:cacheprovider", "--noconftest", "-c", os.devnull, "--rootdir", str(ROOT), "-W", "ignore"]
    limits = [f"--timeout={SECONDS}", "--timeout-method=signal", "--import-mode=importlib", "--tb=native"]
    code = pytest.main([f"{PEERS}::{name}", *options, *limits], plugins=[Recorder(path, done)])
    sys.stdout.flush()
    os._exit(int(code))


# -- all columns -----------------------------------------------------------------------------------------------


@dataclass
class Result:
    """What became of one column."""

    column: type[Any]
    version: str
    installed: bool
    failures: dict[str, str | None] = field(default_factory=dict)  # case -> what it said; None if it passed

    @property
    def contract(self) -> type[Any]:
        """The suite: the ancestor that a user of the kit would subclass."""
        return next(base for base in self.column.__mro__ if base.__module__.startswith("llamaindex_qwen3.testing"))

    @property
    def passed(self) -> dict[str, bool]:
        """Whether each check that applies passed, that is, all of its cases did."""
        found: dict[str, bool] = {}
        for case, failure in self.failures.items():
            name = check_of(case)
            if name in self.column.inapplicable:
                continue
            found[name] = found.get(name, True) and failure is None
        return found


def check_of(case: str) -> str:
    """Return the method of a pytest node id."""
    return re.sub(r"\[.*", "", case.partition("::")[2].partition("::")[2], flags=re.S)


def environment(scratch: Path) -> dict[str, str]:
    """Return the environment of a column: offline, without proxies, keys or the caches of this machine."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith(("OPENAI_", "DASHSCOPE_", "OLLAMA_"))
    }
    return kept | {
        "HF_HUB_OFFLINE": "1",
        "LLAMA_INDEX_CACHE_DIR": str(scratch / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(ROOT),
        "TOKENIZERS_PARALLELISM": "false",
    }


def versions(package: str) -> str:
    """Return the installed version of a package; of this project also without an installation."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        found = re.search(r'^name = "(.+)"\nversion = "(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
        return found[2] if found and found[1] == package else ""


def is_installed(module: str) -> bool:
    """Whether a module can be found."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def read_notes(path: Path) -> tuple[list[str], dict[str, str | None]]:
    """Return the cases there are and how those that began ended."""
    cases: list[str] = []
    ended: dict[str, str | None] = {}
    for line in path.read_text("utf-8").splitlines() if path.exists() else []:
        note = json.loads(line)
        cases = note.get("collected", cases)
        if "started" in note:
            ended[note["started"]] = "the process ended"
        if "finished" in note:
            ended[note["finished"]] = note["failure"]
    return cases, ended


def measure(column: type[Any], scratch: Path) -> Result:
    """Run a column until each of its cases has ended."""
    peer = column.peer
    result = Result(column, versions(peer.package), is_installed(peer.module))
    path = scratch / f"{column.__name__}.jsonl"
    while result.installed:
        command = [sys.executable, str(Path(__file__)), "--column", column.__name__, "--notes", str(path)]
        before = len(result.failures)
        try:
            subprocess.run(command, env=environment(scratch), timeout=60 * SECONDS, stdout=sys.stderr, check=False)
        except subprocess.TimeoutExpired:
            print(f"{column.__name__} hung", file=sys.stderr)
        cases, result.failures = read_notes(path)
        if cases and len(result.failures) == len(cases):
            break
        if len(result.failures) == before:
            message = f"{column.__name__} does not run"
            raise RuntimeError(message)
    return result


# -- the report ------------------------------------------------------------------------------------------------

INTRO = """# How the contract kit judges this project and its peers

`llamaindex_qwen3.testing` publishes suites that any LlamaIndex component can be tested with. **We wrote them, and they
check what this project cares about**: Qwen3's instruction and reasoning, caches, event loops, filters that hold, traces
that close. So our own classes pass because they were made to; what the figures tell is how much of this a user of
another class has to see to himself. They say nothing about what a class has and the suites do not ask for, such as
ONNX, images, or other models than Qwen3.

Run on {date} by [llamaindex_contract.py](llamaindex_contract.py) (`make bench-contract`), which also prints what each
failed check said: all columns in one run, each class in a process of its own. A check with several cases passes if
all of them do. A check that took longer than {seconds} seconds, or that ended the process, counts as failed. A check of
something that a service's protocol does not have, or of a local model where there is none, was not applied (–) and not
counted, nor was a class that is not installed. Peers got the configuration that suits the suite best, listed below; one
missing argument can still cost several checks.

{shared}.

## Summary

| Suite | Class | Package | Passed / checks |
|---|---|---|---|
"""

LEFT_OUT = """## What is not here

- The LLM of `llama-index-llms-dashscope`: it speaks DashScope's native protocol only, and the suite's scripts are
  told in OpenAI's and Ollama's. It was left out rather than counted as failing.
- Services themselves. DashScope and Text Embeddings Inference are stand-ins on loopback
  ([llamaindex_servers.py](llamaindex_servers.py)) that refuse nothing but a blank query: what a class does when a
  service refuses is not among the figures of the embedding and rerank suites.
- The published Qwen3 weights: all embeddings and rerankers ran on the project's mini checkpoints, which have Qwen3's
  architecture and templates and a smaller vocabulary.

For completions of peers, the untouched reply of the server (`raw`) counts as a place for the reasoning, though the
framework's engines do not look there.
"""

TITLES = {
    "EmbeddingContract": "Embeddings",
    "RerankContract": "Rerankers",
    "ThinkingLLMContract": "Thinking LLMs",
    "MilvusStoreContract": "Milvus stores",
}

MARKS = {True: "✓", False: "✗", None: "–"}


def words(name: str) -> str:
    """Return the name of a check in words."""
    plain = name.removeprefix("test_").replace("_", " ")
    return plain[0].upper() + plain[1:]


def readable(check: type[Any], name: str) -> str:
    """Return a check in words, and the first line of what it says about itself."""
    said = (inspect.getdoc(getattr(check, name)) or "").partition("\n")[0].replace("|", "\\|")
    return f"**{words(name)}.** {said.replace('``', '`')}"


def score(result: Result) -> str:
    """Return passed / checks."""
    if not result.installed:
        return "not installed"
    return f"{sum(result.passed.values())} / {len(result.passed)}"


def report(results: list[Result]) -> str:
    """Write the report."""
    suites: dict[type[Any], list[Result]] = {}
    for result in results:
        suites.setdefault(result.contract, []).append(result)
    out = INTRO.format(
        date=datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        shared=textwrap.fill(
            f"Versions: Python {platform.python_version()}, "
            + ", ".join(f"{name} {versions(name).partition('+')[0]}" for name in SHARED),
            width=119,
            break_on_hyphens=False,
        ),
        seconds=SECONDS,
    )
    for suite, columns in suites.items():
        for result in columns:
            peer = result.column.peer
            package = f"{peer.package} {result.version}".strip()
            out += f"| {TITLES[suite.__name__]} | {peer.name} | {package} | {score(result)} |\n"
    for suite, columns in suites.items():
        out += f"\n## {TITLES[suite.__name__]}: `{suite.__name__}`\n\n"
        out += "".join(f"- **{each.column.peer.name}**: {each.column.peer.configuration}.\n" for each in columns)
        for each in columns:
            for name, reason in each.column.inapplicable.items():
                out += f"- Not applied to {each.column.peer.name}: *{words(name)}*, since {reason}.\n"
        shown = [each for each in columns if each.installed]
        out += f"\n| Check | {' | '.join(each.column.peer.name for each in shown)} |\n"
        out += f"|---|{':-:|' * len(shown)}\n"
        for name in (name for name in vars(suite) if name.startswith("test_")):
            marks = " | ".join(MARKS[each.passed.get(name)] for each in shown)
            out += f"| {readable(suite, name)} | {marks} |\n"
    return f"{out}\n{LEFT_OUT}"


def main() -> None:
    """Run all columns, or with ``--column`` one in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="classes of llamaindex_peers.py; nothing is written")
    parser.add_argument("--column", help=argparse.SUPPRESS)
    parser.add_argument("--notes", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.column:
        run_column(arguments.column, arguments.notes, set(read_notes(arguments.notes)[1]))

    sys.path.insert(0, str(ROOT))
    from benchmarks.llamaindex_peers import COLUMNS

    wanted = [column for column in COLUMNS if not arguments.only or column.__name__ in arguments.only]
    with tempfile.TemporaryDirectory() as scratch:
        results = [measure(column, Path(scratch)) for column in wanted]
    for result in results:
        print(f"\n{result.column.peer.name} {result.version}: {score(result)}")
        for case, failure in result.failures.items():
            if failure is not None:
                print(f"  {case.rpartition('::')[2]}: {failure.strip()[:300]}")
    if not arguments.only:
        (HERE / "llamaindex_contract.md").write_text(report(results), encoding="utf-8")


if __name__ == "__main__":
    main()
