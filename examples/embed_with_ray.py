"""Embed a big corpus on many machines with Ray Data, with no Milvus in sight, for `qwen3-rag import` afterwards.

    pip install "qwen3-rag[local,ray]"
    python examples/embed_with_ray.py /shared/corpus /shared/export --workers 8 --gpus 1
    qwen3-rag import /shared/export --uri http://milvus:19530

Both folders are ones that all machines see. Without `RAY_ADDRESS` or `ray start` everything runs on this machine.
A worker loads the model once, and writes a shard for each group of files: whole, or not at all. After an interruption
the same command goes on with the groups that are missing.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import ray

from qwen3_core import LocalEmbedder
from qwen3_core.ingest import Chunk, IngestError, find_files, load_chunks
from qwen3_core.local import DEFAULT_EMBEDDING_MODEL
from qwen3_core.milvus import EmbeddingIdentity
from qwen3_core.milvus.rows import Rows
from qwen3_core.milvus.transfer import CollectionShape, Export, begin_export

FILES_PER_SHARD = 256


def groups_of(files: list[Path]) -> dict[str, list[str]]:
    """Return groups of files under names that change when a file does."""
    groups = {}
    for start in range(0, len(files), FILES_PER_SHARD):
        group = files[start : start + FILES_PER_SHARD]
        states = [f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in group]
        groups[hashlib.sha256("\n".join(states).encode()).hexdigest()] = [str(file) for file in group]
    return groups


def read(file: str) -> list[Chunk]:
    """Cut a file into chunks; one bad file must not stop the rest."""
    try:
        return load_chunks([file])
    except IngestError as error:
        print(error)  # noqa: T201
        return []


class EmbedAndWrite:
    """A worker: one model for all of its groups."""

    def __init__(self, export: Export, model: str) -> None:
        self.export, self.embedder = export, LocalEmbedder(model)

    def __call__(self, group: dict[str, Any]) -> dict[str, Any]:
        """Read, embed and write one group."""
        chunks = [chunk for file in group["files"] for chunk in read(file)]
        rows = Rows([each.text for each in chunks], [each.metadata for each in chunks], [each.id for each in chunks])
        vectors = self.embedder.embed_documents(rows.texts)
        self.export.write(group["name"], [rows.row(place, vectors[place]) for place in rows.first.values()])
        return {"name": group["name"]}


def embed(corpus: Path, folder: Path, *, collection: str, model: str, workers: int, gpus: float) -> int:
    """Embed all files of a corpus; return how many chunks there are."""
    embedder = LocalEmbedder(model)
    size = len(embedder.embed_documents(["How long is a vector?"])[0])
    export = begin_export(folder, CollectionShape(collection, EmbeddingIdentity.of(embedder), size))
    groups = groups_of(find_files(corpus))
    missing = [{"name": name, "files": files} for name, files in groups.items() if not export.has(name)]
    if missing:
        ray.data.from_items(missing, override_num_blocks=len(missing)).map(
            EmbedAndWrite,  # type: ignore[arg-type,unused-ignore]  # Ray's types know no classes here; its manual does
            fn_constructor_args=(export, model),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
            num_gpus=gpus,
        ).materialize()  # Ray works when it is asked for results
    return export.finish(groups).rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="a folder of markdown and text files, or one file")
    parser.add_argument("folder", type=Path, help="where the shards go; new, or of a run that was interrupted")
    parser.add_argument("--collection", default="docs")
    parser.add_argument("--model", default=DEFAULT_EMBEDDING_MODEL, help='a hub name, a folder, or "mini"')
    parser.add_argument("--workers", type=int, default=1, help="how many models are loaded at once, at most")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of each worker")
    options = vars(parser.parse_args())
    print(embed(options.pop("corpus"), options.pop("folder"), **options), "chunks")  # noqa: T201
