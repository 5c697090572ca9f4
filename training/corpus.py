"""Build the passages: fetch the packages of ``sources.toml``, extract and cut their documents.

Every line of the output has text, heading, title, source, licence and split (train or dev).
"""

from __future__ import annotations

import argparse
import fnmatch
import gzip
import hashlib
import json
import random
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from extract import Section, sections_of

Passage = dict[str, str]

MIN_WORDS, TARGET_WORDS, MAX_WORDS = 12, 70, 100
PER_SOURCE = 9000  # one large package must not drown the others
DEV_ONE_IN = 25  # documents held out of sources that are otherwise trained on
GUARD_WORDS = 8  # a passage that shares a run of this many words with a test text is dropped


def fetch(source: dict[str, Any], work: Path) -> Path:
    """Download and unpack one source, once.

    Args:
        source: A table of ``sources.toml``.
        work: Folder for downloads and unpacked trees.

    Returns:
        The folder with the unpacked files.
    """
    name = source["name"].replace("/", "__")
    tree = work / "trees" / name
    if tree.exists():
        return tree
    downloads = work / "downloads" / name
    downloads.mkdir(parents=True, exist_ok=True)
    if source["kind"] == "debian":
        subprocess.run(["apt-get", "download", source["name"]], cwd=downloads, check=True)
        subprocess.run(["dpkg", "-x", next(downloads.glob("*.deb")), tree], check=True)
    elif source["kind"] == "pypi":
        wanted = f"{source['name']}=={source['version']}"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "--no-build-isolation", "-d", downloads, wanted], check=True)
        with tarfile.open(next(downloads.glob("*.tar.gz"))) as archive:
            archive.extractall(tree, filter="data")
    else:
        address = f"https://github.com/{source['name']}"
        subprocess.run(["git", "clone", "--depth", "1", address, tree], check=True)
    return tree


def documents(source: dict[str, Any], tree: Path) -> list[Path]:
    """Return the files of a source that its globs choose, in a fixed order."""

    def matches(path: Path, patterns: Iterable[str]) -> bool:
        name = str(path.relative_to(tree)).removesuffix(".gz")
        return any(fnmatch.fnmatch(name, p.replace("**/", "*")) for p in patterns)

    files = (path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    chosen = [p for p in files if matches(p, source["include"]) and not matches(p, source.get("exclude", []))]
    return sorted(chosen)


def cut(section: Section) -> Iterator[str]:
    """Cut a section into passages of about ``TARGET_WORDS`` words at paragraph or sentence ends."""
    pieces = [s for p in section.paragraphs for s in re.split(r"(?<=[.!?:])\s+(?=[A-Z0-9])", p)]
    words: list[str] = []
    for piece in pieces:
        parts = piece.split()
        if words and len(words) + len(parts) > MAX_WORDS:
            yield " ".join(words)
            words = []
        words += parts[:MAX_WORDS]
        if len(words) >= TARGET_WORDS:
            yield " ".join(words)
            words = []
    if words:
        yield " ".join(words)


def is_prose(text: str) -> bool:
    """Tell whether a passage is long enough and mostly English words."""
    words = text.split()
    plain = sum(bool(re.fullmatch(r"[(\"'“]*[A-Za-z][a-z]*(?:['’-][a-z]+)*[.,;:!?)\"'”]*", w)) for w in words)
    return len(words) >= MIN_WORDS and plain >= 0.6 * len(words)


def wordnet(tree: Path) -> Iterator[tuple[str, str]]:
    """Yield (words, gloss) of WordNet's data files."""
    for path in sorted(tree.glob("usr/share/wordnet/data.*")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("  ") or " | " not in line:
                continue
            fields, gloss = line.split(" | ", 1)
            parts = fields.split()
            count = int(parts[3], 16)
            names = [parts[4 + 2 * i].replace("_", " ").split("(")[0] for i in range(count)]
            yield ", ".join(names), gloss.strip()


def passages_of(source: dict[str, Any], tree: Path) -> list[Passage]:
    """Extract the passages of one source."""
    common = {"licence": source["licence"], "split": "dev" if source.get("dev") else ""}
    if source["name"] == "wordnet-base":
        entries = wordnet(tree)
        return [{"text": g, "heading": w, "title": w, "source": "wordnet-base:" + w, **common} for w, g in entries]
    found: list[Passage] = []
    for path in documents(source, tree):
        sections = sections_of(path)
        title = next((s.headings[0] for s in sections if s.headings), path.stem)
        name = f"{source['name']}:{path.relative_to(tree)}"
        for section in sections:
            for text in filter(is_prose, cut(section)):
                heading = section.path or title
                found.append({"text": text, "heading": heading, "title": title, "source": name, **common})
    return found


def runs(text: str) -> Iterator[str]:
    """Yield every run of ``GUARD_WORDS`` normalised words."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    for start in range(len(words) - GUARD_WORDS + 1):
        yield " ".join(words[start : start + GUARD_WORDS])


def split_of(source: str) -> str:
    """Assign a document to a split by the hash of its name, so that reruns agree."""
    digest = hashlib.blake2b(source.encode(), digest_size=4).digest()
    return "dev" if int.from_bytes(digest, "little") % DEV_ONE_IN == 0 else "train"


def clean(passages: Iterable[Passage], guard: set[str]) -> list[Passage]:
    """Drop repeats and passages that overlap a guarded text; fill in the split."""
    seen: set[str] = set()
    kept = []
    for passage in passages:
        key = passage["text"][:200].lower()
        if key in seen or (guard and not guard.isdisjoint(runs(passage["text"]))):
            continue
        seen.add(key)
        passage["split"] = passage.get("split") or split_of(passage["source"])
        kept.append(passage)
    return kept


def collect(args: argparse.Namespace, rng: random.Random) -> list[Passage]:
    """Gather the passages of every source, capped per source."""
    found: list[Passage] = []
    if args.passages:
        with gzip.open(args.passages, "rt", encoding="utf-8") as lines:
            found += [json.loads(line) for line in lines]
    sources = tomllib.loads(args.sources.read_text(encoding="utf-8"))["source"]
    for source in sources:
        if source["kind"] == "git" and args.passages:
            continue  # they come from the file
        part = passages_of(source, fetch(source, args.work))
        limit = source.get("limit", PER_SOURCE)
        part = rng.sample(part, limit) if len(part) > limit else part
        print(f"{source['name']}: {len(part)} passages", flush=True)
        found += part
    return found


def main() -> None:
    """Write ``passages.jsonl.gz`` into the working folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="working folder")
    parser.add_argument("--sources", type=Path, default=Path(__file__).with_name("sources.toml"))
    parser.add_argument("--passages", type=Path, help="passages of the git sources, extracted earlier")
    parser.add_argument("--guard", type=Path, nargs="*", default=[], help="test texts to keep out")
    args = parser.parse_args()
    guard = {run for path in args.guard for run in runs(path.read_text("utf-8", "ignore"))}
    passages = clean(collect(args, random.Random(0)), guard)
    with gzip.open(args.work / "passages.jsonl.gz", "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(p, ensure_ascii=False) + "\n" for p in passages)
    print(len(passages), Counter(p["split"] for p in passages), Counter(p["licence"] for p in passages))


if __name__ == "__main__":
    main()
