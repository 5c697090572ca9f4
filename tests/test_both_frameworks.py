"""One set of weights and one collection serve both frameworks."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from llama_index.core.vector_stores.types import FilterOperator, VectorStoreQuery

import langchain_qwen3
import llamaindex_qwen3
from llamaindex_qwen3.testing.vector_store import field, node, where
from qwen3_core import LocalEmbedder, LocalReranker
from qwen3_core.milvus import EmbeddingIdentity

QUESTION = "How is data stored?"
TEXTS = ["Data is stored in segments.", "etcd keeps the metadata.", "Cats sleep.", "Milvus stores vectors."]


@pytest.fixture(scope="module")
def engine() -> LocalEmbedder:
    return LocalEmbedder("mini", dtype="float32")


def test_one_engine_gives_both_the_same_vectors(engine: LocalEmbedder) -> None:
    llama = llamaindex_qwen3.Qwen3Embedding.from_embedder(engine)
    lang = langchain_qwen3.Qwen3Embeddings.from_embedder(engine)
    assert llama._embedder is lang._embedder is engine
    assert llama.get_query_embedding(QUESTION) == lang.embed_query(QUESTION)
    assert llama.get_text_embedding_batch(TEXTS) == lang.embed_documents(TEXTS)
    assert EmbeddingIdentity.of(llama) == EmbeddingIdentity.of(lang), "they open each other's collections"


def test_one_engine_gives_both_the_same_scores() -> None:
    engine = LocalReranker("mini", dtype="float32")
    llama = llamaindex_qwen3.Qwen3Rerank.from_reranker(engine, metadata_mode=MetadataMode.NONE)
    lang = langchain_qwen3.Qwen3Rerank.from_reranker(engine)
    assert llama._reranker is lang._reranker is engine
    nodes = [NodeWithScore(node=TextNode(id_=str(n), text=text), score=0.5) for n, text in enumerate(TEXTS)]
    documents = [Document(id=str(n), page_content=text) for n, text in enumerate(TEXTS)]
    assert [(item.node_id, item.score) for item in llama.postprocess_nodes(nodes, query_str=QUESTION)] == [
        (document.id, document.metadata["relevance_score"]) for document in lang.compress_documents(documents, QUESTION)
    ]


@pytest.mark.parametrize("hybrid", [False, True])
def test_what_one_wrote_the_other_finds(tmp_path: Path, engine: LocalEmbedder, *, hybrid: bool) -> None:
    llama_embedding = llamaindex_qwen3.Qwen3Embedding.from_embedder(engine)
    lang_embedding = langchain_qwen3.Qwen3Embeddings.from_embedder(engine)
    place = {"uri": str(tmp_path / "milvus.db"), "hybrid": hybrid}
    with (
        llamaindex_qwen3.create_vector_store(llama_embedding, **place) as llama,  # type: ignore[arg-type]
        langchain_qwen3.create_vector_store(lang_embedding, **place) as lang,  # type: ignore[arg-type]
    ):
        vectors = llama_embedding.get_text_embedding_batch(TEXTS[:2])
        llama.add([node(f"l{n}", vectors[n], TEXTS[n], document="d", page=n) for n in range(2)])
        lang.add_texts(TEXTS[2:], [{"page": 2}, {"page": 3}], ids=["c0", "c1"])
        query = VectorStoreQuery(
            query_embedding=llama_embedding.get_query_embedding(QUESTION), query_str=QUESTION, similarity_top_k=4,
            mode="hybrid" if hybrid else "default",  # type: ignore[arg-type]
        )  # fmt: skip
        found = llama.query(query)
        other = lang.similarity_search_with_score(QUESTION, k=4)
        assert [document.id for document, _ in other] == found.ids
        assert [score for _, score in other] == pytest.approx(found.similarities, abs=1e-6)
        assert [document.page_content for document, _ in other] == [each.get_content() for each in found.nodes or []]
        assert [document.metadata for document, _ in other] == [each.metadata for each in found.nodes or []]
        assert [each.id for each in lang.similarity_search(QUESTION, k=4, filter={"page": 1})] == ["l1"]
        llama.delete_nodes(filters=where(field("page", FilterOperator.EQ, 2)))
        lang.delete(["l0"])
        assert llama.existing_ids(["l0", "l1", "c0", "c1"]) == {"l1", "c1"}
