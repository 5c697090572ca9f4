"""Many users in one collection: none sees, overwrites or deletes what is another's, on Milvus Lite and on a server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from milvus_servers import TOKEN

from qwen3_core.milvus import And, Collection, Connection, EmbeddingIdentity, Field, In, MilvusAddress, Not, Or, raw
from qwen3_core.milvus.errors import MilvusStoreError

NAMES = ["a", "b", "A", 'a" or tenant != "', "%", "_", "a:b", "中文", "é" * 127, " ", "\n"]


@pytest.fixture(params=["lite", "server"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> MilvusAddress:
    """A Milvus Lite file, and a real server."""
    if request.param == "lite":
        return MilvusAddress(str(tmp_path / "milvus.db"))
    return MilvusAddress(request.getfixturevalue("milvus_2_3"), TOKEN)


@pytest.fixture
def collection(address: MilvusAddress) -> Iterator[Collection]:
    connection = Connection(address)
    yield open_collection(connection, tenants=True, drop_old=True)
    connection.close()


def open_collection(connection: Connection, **options: Any) -> Collection:
    options = {"consistency_level": "Strong", **options}
    return Collection(connection, "tenants", EmbeddingIdentity("test"), measure=lambda: 2, **options)


def write(view: Collection, rows: dict[str, str], **metadata: Any) -> None:
    checked = view.rows(list(rows.values()), [metadata] * len(rows), list(rows))
    view.write(checked, range(len(rows)), [[1.0, 0.0]] * len(rows))
    view.flush()


def contents(view: Collection, condition: Any = None) -> dict[str, str]:
    found = view.query(condition, limit=1000, consistency_level="Strong")
    return {row["pk"]: row["text"] for row in found}


# -- apart from each other ------------------------------------------------------------------------------------


def test_tenants_are_apart(collection: Collection) -> None:
    names = NAMES if collection._connection.address.is_lite else NAMES[:5]  # a Strong query takes a server 200 ms
    views = {name: collection.for_tenant(name) for name in names}
    for name, view in views.items():
        write(view, {"1": f"first of {name}", "2": f"second of {name}"}, n=1)
    for name, view in views.items():
        own = {"1": f"first of {name}", "2": f"second of {name}"}
        everything: list[Any] = [
            None, {}, {"n": 1}, Not(Or()), raw("n == 1"), Or(Field("tenant") != name, Field("n") == 1),
            Not(Field("n") == 2), In("pk", ["1", "2"]), Field("pk") > "", ~(Field("pk") == "none"),
        ]  # fmt: skip
        for condition in everything:
            assert contents(view, condition) == own, condition
        hits = view.search([1.0, 0.0], 100)
        assert {hit["entity"]["pk"]: hit["entity"]["text"] for hit in hits} == own
        assert {row["pk"] for row in view.rows_by_id(["1", "2", "3"])} == {"1", "2"}
        assert all("tenant" not in row for row in view.query("", ["*"], limit=10))
    first, second = views["a"], views["b"]
    write(first, {"1": "new"})
    first.delete_ids(["2"])
    assert contents(first) == {"1": "new"}
    assert contents(second) == {"1": "first of b", "2": "second of b"}
    first.delete(Or(Field("pk") != "", Field("tenant") == "b"))
    assert contents(first) == {}
    second.drop()
    assert contents(second) == {}
    for name in names[2:]:
        assert len(contents(views[name])) == 2


def test_ids_of_tenants_are_never_taken_for_each_other(collection: Collection) -> None:
    one, two = collection.for_tenant("a"), collection.for_tenant("a:b")
    write(one, {"b:c": "of a"})
    write(two, {"c": "of a:b"})
    assert (contents(one), contents(two)) == ({"b:c": "of a"}, {"c": "of a:b"})
    foreign = two._tenant.prefix + "c"  # type: ignore[union-attr]
    assert one.existing_ids(["b:c", "c", foreign]) == {"b:c"}
    one.delete_ids([foreign, "c"])
    assert contents(two) == {"c": "of a:b"}


def test_random_writes_and_deletes_leave_what_a_dictionary_has(collection: Collection) -> None:
    rng = random.Random(11)
    model: dict[str, dict[str, str]] = {name: {} for name in NAMES[:4]}
    for step in range(40 if collection._connection.address.is_lite else 12):
        name = rng.choice(list(model))
        view, ids = collection.for_tenant(name), rng.sample("12345", rng.randint(1, 3))
        action = rng.choice(["write", "write", "delete", "delete where", "drop"] if step else ["write"])
        if action == "write":
            rows = {id_: f"{name} {step} {id_}" for id_ in ids}
            write(view, rows)
            model[name] |= rows
        elif action == "delete":
            view.delete_ids(ids)
        elif action == "delete where":
            view.delete(And(In("pk", ids), Field("text") != ""))
        else:
            view.drop()
            ids = list(model[name])
        if action != "write":
            model[name] = {id_: text for id_, text in model[name].items() if id_ not in ids}
        assert contents(view) == model[name]
    assert {name: contents(collection.for_tenant(name)) for name in model} == model


# -- a tenant is never forgotten ------------------------------------------------------------------------------


def test_without_a_tenant_nothing_is_read_written_or_deleted(collection: Collection) -> None:
    checked = collection.for_tenant("a").rows(["text"], None, ["1"])
    for time in ("before it is made", "after"):
        uses: list[Any] = [
            lambda: collection.rows(["text"], None, ["1"]),
            lambda: collection.write(checked, [0], [[1.0, 0.0]]),
            lambda: collection.query("", limit=1),
            lambda: collection.search([1.0, 0.0], 1),
            lambda: collection.existing_ids([]),
            lambda: collection.rows_by_id(["1"]),
            lambda: collection.delete_ids([]),
            lambda: collection.delete({"n": 1}),
        ]
        for use in uses:
            with pytest.raises(ValueError, match=r"has tenants: say whose rows are meant, tenant='\.\.\.'"):
                use()
        if time != "after":
            write(collection.for_tenant("a"), {"1": "of a"})
    assert contents(collection.for_tenant("a")) == {"1": "of a"}


def test_a_collection_is_known_to_have_tenants_or_none(collection: Collection) -> None:
    write(collection.for_tenant("a"), {"1": "of a"})
    again = open_collection(collection._connection)  # nobody said that it has
    assert again.tenants
    with pytest.raises(ValueError, match="has tenants"):
        again.query("", limit=1)
    assert contents(again.for_tenant("a")) == {"1": "of a"}
    ordinary = open_collection(collection._connection, drop_old=True)
    write(ordinary, {"1": "everybody's"}, tenant="a")
    assert contents(ordinary, {"tenant": "a"}) == {"1": "everybody's"}
    with pytest.raises(ValueError, match="has no tenants"):
        ordinary.for_tenant("a")
    with pytest.raises(ValueError, match="made without tenants=True"):
        open_collection(collection._connection, tenants=True)


def test_a_view_is_of_one_tenant_and_tenants_are_strings(collection: Collection) -> None:
    view = collection.for_tenant("a")
    assert contents(view.for_tenant("a")) == {}
    with pytest.raises(ValueError, match="this is the view of tenant 'a'"):
        view.for_tenant("b")
    no_strings: list[Any] = [1, None, b"a"]
    for wrong in no_strings:
        with pytest.raises(TypeError, match="pass a string"):
            collection.for_tenant(wrong)
    for wrong in ("", "é" * 128, "\ud800"):
        with pytest.raises(ValueError, match=r"bytes of UTF-8|not valid Unicode"):
            collection.for_tenant(wrong)
    with pytest.raises(ValueError, match="'tenant' is a field of the collection"):
        write(view, {"1": "x"}, tenant="b")


# -- in the frameworks ----------------------------------------------------------------------------------------


def _place(address: MilvusAddress) -> dict[str, Any]:
    place: dict[str, Any] = {"uri": address.uri, "token": address.token or None, "collection_name": "of_a_framework"}
    return place | (
        {} if address.is_lite else {"consistency_level": "Strong"}
    )  # 2.3.5 shows what is deleted for a while


def test_tenants_in_langchain(address: MilvusAddress) -> None:
    pytest.importorskip("langchain_milvus")
    from langchain_core.documents import Document
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_qwen3 import Qwen3Retriever
    from langchain_qwen3.vector_store import create_vector_store

    class Counting(DeterministicFakeEmbedding):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            calls.append("documents")
            return super().embed_documents(texts)

        def embed_query(self, text: str) -> list[float]:
            calls.append("query")
            return super().embed_query(text)

    calls: list[str] = []
    embeddings = Counting(size=4)
    documents = [Document(id="1", page_content="secret", metadata={"n": 1})]
    with create_vector_store(embeddings, tenants=True, drop_old=True, **_place(address)) as store:
        assert store.add_documents(documents, tenant="a") == ["1"]
        made = store.add_texts(["secret"], tenant="b")
        assert store.add_texts(["secret"], tenant="a") == made
        store.for_tenant("b").add_texts(["mine"], ids=["1"])
        calls.clear()
        uses: list[Any] = [
            lambda **k: store.add_documents(documents, **k),
            lambda **k: store.add_texts(["x"], **k),
            lambda **k: store.add_embeddings(["x"], [[1.0] * 4], **k),
            lambda **k: store.upsert(["1"], documents, **k),
            lambda **k: store.similarity_search("x", **k),
            lambda **k: store.similarity_search_with_score("x", **k),
            lambda **k: store.similarity_search_with_relevance_scores("x", **k),
            lambda **k: store.similarity_search_by_vector([1.0] * 4, **k),
            lambda **k: store.max_marginal_relevance_search("x", **k),
            lambda **k: store.search_by_metadata(filter={"n": 1}, **k),
            lambda **k: store.get_by_ids(["1"], **k),
            lambda **k: store.get_pks(raw("n == 1"), **k),
            lambda **k: store.existing_ids(["1"], **k),
            lambda **k: store.delete(["1"], **k),
            lambda **k: store.delete(filter={"n": 1}, **k),
            lambda **k: asyncio.run(store.asimilarity_search("x", **k)),
            lambda **k: store.as_retriever(search_kwargs=k).invoke("x"),
            lambda **k: Qwen3Retriever(vector_store=store).invoke("x", **k),
        ]
        for use in uses:
            with pytest.raises(ValueError, match="has tenants: say whose rows are meant"):
                use()
        assert calls == [], "nothing was embedded"
        for use in uses:
            use(tenant="c")
        for tenant, expected in (("a", {"1": "secret", made[0]: "secret"}), ("b", {"1": "mine", made[0]: "secret"})):
            view = store.for_tenant(tenant)
            found = [
                store.similarity_search("x", k=50, tenant=tenant), view.similarity_search("x", k=50),
                store.get_by_ids(["1", *made], tenant=tenant), asyncio.run(view.aget_by_ids(["1", *made])),
                Qwen3Retriever(vector_store=store, tenant=tenant, k=50).invoke("x"),
                asyncio.run(Qwen3Retriever(vector_store=store, k=50).ainvoke("x", tenant=tenant)),
            ]  # fmt: skip
            assert [{each.id: each.page_content for each in some} for some in found] == [expected] * len(found)
        with pytest.raises(ValueError, match="this is the view of tenant 'a'"):
            store.for_tenant("a").similarity_search("x", tenant="b")
        store.for_tenant("a").close()
        store.for_tenant("a").drop()
        assert store.get_by_ids(["1"], tenant="a") == []
        assert [each.page_content for each in store.get_by_ids(["1"], tenant="b")] == ["mine"]
    with create_vector_store(embeddings, tenant="b", **_place(address)) as own:
        assert [each.page_content for each in own.get_by_ids(["1"])] == ["mine"]
    with pytest.raises(ValueError, match="drop_old=True deletes the rows of all tenants"):
        create_vector_store(embeddings, tenant="b", drop_old=True, **_place(address))


def test_tenants_in_llamaindex(address: MilvusAddress) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core import VectorStoreIndex
    from llama_index.core.llms.mock import MockLLM
    from llama_index.core.schema import TextNode
    from llama_index.core.vector_stores.types import VectorStoreQuery
    from test_llamaindex_qwen3_vector_store import Letters

    from llamaindex_qwen3 import create_query_engine
    from llamaindex_qwen3.testing.vector_store import node, unit
    from llamaindex_qwen3.vector_store import Qwen3VectorStore, create_vector_store

    query = VectorStoreQuery(query_embedding=unit(1), similarity_top_k=50)
    with create_vector_store(Letters(), tenants=True, drop_old=True, **_place(address)) as store:
        one, two = store.for_tenant("a"), store.for_tenant("b")
        one.add([node("1", unit(1), "of a", document="d"), node("2", unit(1), document="d")])
        two.add([node("1", unit(1), "of b", document="d")])
        uses: list[Any] = [
            lambda: store.add([node("1", unit(1))]),
            lambda: store.query(query),
            lambda: asyncio.run(store.aquery(query)),
            lambda: store.get_nodes(["1"]),
            lambda: store.delete("d"),
            lambda: store.delete_nodes(["1"]),
            lambda: store.existing_ids(["1"]),
        ]
        for use in uses:
            with pytest.raises(ValueError, match="has tenants: say whose rows are meant"):
                use()
        assert (set(one.query(query).ids or []), two.query(query).ids) == ({"1", "2"}, ["1"])
        assert [each.get_content() for each in two.get_nodes(["1", "2"])] == ["of b"]
        retriever = VectorStoreIndex.from_vector_store(two, embed_model=Letters()).as_retriever(similarity_top_k=9)
        assert [each.get_content() for each in retriever.retrieve("b")] == ["of b"]
        again = Qwen3VectorStore.from_dict({**two.to_dict(), "token": address.token or None})
        assert again.query(query).ids == ["1"]
        again.close()
        one.delete("d")
        assert two.query(query).ids == ["1"]
        two.clear()
        assert two.query(query).ids == []
    place = {name: value for name, value in _place(address).items() if name != "consistency_level"}
    nodes = [TextNode(id_=name, text=f"of {name}") for name in ("x", "y")]
    create_vector_store(Letters(), tenants=True, drop_old=True, **_place(address)).close()
    with create_query_engine(nodes, llm=MockLLM(), embed_model=Letters(), tenant="a", **place) as engine:
        assert {each.node_id for each in engine.retrieve(_bundle("of"))} == {"x", "y"}
    with create_vector_store(Letters(), tenant="b", **place) as other:
        assert other.query(query).ids == []


def _bundle(text: str) -> Any:
    from llama_index.core.schema import QueryBundle

    return QueryBundle(text)


def test_hybrid_search_with_tenants(tmp_path: Path) -> None:
    connection = Connection(MilvusAddress(str(tmp_path / "milvus.db")))
    collection = open_collection(connection, tenants=True, hybrid=True)
    for name in ("a", "b"):
        write(collection.for_tenant(name), {"1": f"zebra of {name}", "2": f"ox of {name}"})
    with pytest.raises(ValueError, match="has tenants"):
        collection.text_search("zebra", 5)
    with pytest.raises(ValueError, match="has tenants"):
        collection.hybrid_search("zebra", [1.0, 0.0], 5)
    view = collection.for_tenant("b")
    assert [hit["entity"]["text"] for hit in view.text_search("zebra a", 5)] == ["zebra of b"]
    found = view.hybrid_search("zebra", [1.0, 0.0], 5)
    assert {hit["entity"]["pk"]: hit["entity"]["text"] for hit in found} == {"1": "zebra of b", "2": "ox of b"}
    connection.close()
    with pytest.raises(MilvusStoreError, match="closed"):
        view.text_search("zebra", 5)
