"""`qwen3-rag mcp`: its tools and its resources, asked by the SDK's own client over stdio and HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.types import TextResourceContents
from mcp_hosts import (
    ANSWER,
    FORGED,
    QUESTION,
    README,
    SECRETS,
    THOUGHT,
    Served,
    brain,
    index,
    over_stdio,
    rows,
    shared_server,
)
from researcher import CORPUS, HOPS, Researcher
from scripted_chat import Vllm

from langchain_qwen3 import Qwen3Embeddings, create_vector_store
from qwen3_cli.mcp_announced import URI
from qwen3_cli.mcp_server import PAGE


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with shared_server(tmp_path_factory.mktemp("mcp")) as running:
        yield running


def said(result: Any) -> str:
    return "".join(part.text for part in result.content)


async def text_of(client: Client, uri: str) -> str:
    [content] = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    assert content.uri == uri
    return content.text


async def check_search(client: Client, docs: str) -> None:
    result = await client.call_tool("search", {"query": QUESTION, "k": 1})
    assert not result.is_error
    assert said(result) == f"[1] ({docs}storage.md # Storage)\nStorage\n\nVectors and logs are kept in object storage."
    [passage] = result.structured_content["passages"]
    assert passage["place"] == f"{docs}storage.md # Storage"
    assert 0 < passage["score"] <= 1
    assert (await text_of(client, passage["uri"])).startswith("Storage\n\nVectors")
    many = await client.call_tool("search", {"query": QUESTION, "k": 50})
    scores = [each["score"] for each in many.structured_content["passages"]]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)


def folder_of(resources: Any) -> str:
    return str(resources[0].name).removesuffix("cats & dogs.txt")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_client_over_stdio(tmp_path: Path, mode: str) -> None:
    uri = index(tmp_path)
    before = rows(uri)
    with Vllm(brain=brain).serve() as chat:
        options = ("--top-n", "2", "--chat", chat, "--chat-model", "Qwen/Qwen3-8B", "--server", "vllm")
        async with over_stdio(uri, *options, log=tmp_path / "log", mode=mode) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["search", "ask", "research"]
            listed = (await client.list_resources()).resources
            await check_search(client, folder_of(listed))
            for tool in ("ask", "research"):
                await check_answer(client, tool, folder_of(listed))
            refused = await client.call_tool("search", {"query": ""})
            assert (refused.is_error, said(refused)) == (True, "query is empty: say what to look for")
    assert rows(uri) == before
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_client_over_http(served: Served, mode: str) -> None:
    async with served.client(mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"search", "ask", "research"}
        for tool in tools.values():
            assert tool.input_schema["properties"].keys() == {"query", "k", "filters"}
            assert tool.annotations is not None
            assert tool.annotations.read_only_hint
        listed = (await client.list_resources()).resources
        await check_search(client, folder_of(listed))
        for name in ("ask", "research"):
            await check_answer(client, name, folder_of(listed))


async def check_answer(client: Client, tool: str, docs: str) -> None:
    result = await client.call_tool(tool, {"query": QUESTION})
    lines = said(result).splitlines()
    assert lines[:4] == [ANSWER, "", "Sources:", f"[1] {docs}storage.md # Storage"]
    assert THOUGHT not in said(result)
    data = result.structured_content
    assert (data["answer"], data["cited"], len(data["passages"])) == (ANSWER, [1], 2)


async def test_calls_side_by_side(served: Served) -> None:
    async with served.client() as client:
        calls = [client.call_tool(name, {"query": f"{QUESTION} {n}"}) for n in range(4) for name in ("search", "ask")]
        results = await asyncio.gather(*calls, client.list_resources())
        assert [getattr(result, "is_error", None) for result in results] == [False] * 8 + [None]


async def test_documents_are_resources(served: Served) -> None:
    async with served.client() as client:
        [template] = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == URI + "{source}"
        listed = await client.list_resources()
        assert listed.next_cursor is None
        cats, forged, storage = listed.resources
        assert cats.uri.endswith("cats%20%26%20dogs.txt")
        assert storage.description == "2 passages, as indexed"
        assert await text_of(client, cats.uri) == "Cats sleep for most of the day. 'Dogs' \"bark\"."
        # As indexed; what a tool gives to a model is made harmless.
        assert FORGED in await text_of(client, forged.uri)
        found = await client.call_tool("search", {"query": "whoever says so", "k": 4})
        assert "Obey." in said(found)
        assert "<|im_start|>" not in said(found) + json.dumps(found.structured_content)


async def test_many_documents_come_in_pages(tmp_path: Path) -> None:
    uri = str(tmp_path / "milvus.db")
    names = [f"{number:03}.md" for number in range(PAGE * 2 + 1)]
    with create_vector_store(Qwen3Embeddings(model="mini"), uri=uri) as store:
        store.add_texts(["A text."] * len(names), [{"source": name} for name in names], ids=names)
        store.add_texts(["No document: it has no source."], [{"source": 7}])
    async with over_stdio(uri, log=tmp_path / "log") as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["search"], "there is no chat model"
        assert "pass --chat, or set DASHSCOPE_API_KEY" in (tmp_path / "log").read_text()
        found, cursor, pages = [], None, 0
        while pages == 0 or cursor:
            page = await client.list_resources(cursor=cursor)
            found += [resource.name for resource in page.resources]
            cursor, pages = page.next_cursor, pages + 1
        assert (found, pages) == (names, 3)
        assert (await client.list_resources(cursor="zzz%00' or 1==1")).resources == []


async def test_a_tenant_is_the_operators_choice(tmp_path: Path) -> None:
    uri = index(tmp_path, "--tenant", "a")
    with create_vector_store(Qwen3Embeddings(model="mini"), uri=uri, tenant="b") as store:
        store.add_texts(["Vectors of b are kept elsewhere."], [{"source": "b.md"}])
    async with over_stdio(uri, "--tenant", "a", log=tmp_path / "log") as client:
        refused = await client.call_tool("search", {"query": QUESTION, "tenant": "b"})
        assert said(refused) == 'unknown argument "tenant": pass query, k and filters'
        for filters in ({}, {"tenant": "b"}, {"tenant": ["a", "b"]}, {"source": "b.md"}):
            found = await client.call_tool("search", {"query": "Vectors of b", "k": 50, "filters": filters})
            assert "Vectors of b" not in said(found)
        assert "b.md" not in [resource.name for resource in (await client.list_resources()).resources]
        with pytest.raises(MCPError, match="no such document"):
            await client.read_resource(URI + "b.md")
    assert len(rows(uri, "b")) == 1


@pytest.mark.parametrize(
    ("limits", "asked", "note"),
    [
        (("--max-rounds", "2", "--no-think"), "plan reflect rewrite reflect report", "no round is left"),
        (("--token-budget", "1"), "plan report", "the token budget is spent"),
    ],
)
async def test_a_research_goes_as_far_as_the_operator_says(
    tmp_path: Path, limits: tuple[str, ...], asked: str, note: str
) -> None:
    uri, brain = str(tmp_path / "milvus.db"), Researcher(HOPS)
    with create_vector_store(Qwen3Embeddings(model="mini"), uri=uri) as store:
        store.add_texts([*CORPUS.values()], [{"source": name} for name in CORPUS], ids=[*CORPUS])
    with Vllm(brain=brain).serve() as chat:
        options = ("--top-n", "1", "--chat", chat, "--chat-model", "Qwen/Qwen3-8B", "--server", "vllm", *limits)
        async with over_stdio(uri, *options, log=tmp_path / "log") as client:
            for name in ("max_rounds", "token_budget", "think"):
                refused = await client.call_tool("research", {"query": "Who owns the plant?", name: 99})
                assert said(refused) == f'unknown argument "{name}": pass query, k and filters'
            assert brain.asked == []
            result = await client.call_tool("research", {"query": "Who is the owner of the plant?"})
    assert not result.is_error, said(result)
    assert [name for name, _ in brain.asked] == asked.split()
    thought = {name for name, thinks in brain.asked if thinks}
    assert thought == (set() if "--no-think" in limits else {"plan", "reflect"} & set(asked.split()))
    assert result.structured_content["passages"][0]["source"] == "owner"
    assert result.structured_content["notes"] == [f"it ended since {note}"]
    assert said(result).endswith(f"\n\nNotes:\n- it ended since {note}")


async def test_a_chat_server_that_is_down_is_not_named(tmp_path: Path) -> None:
    uri = index(tmp_path)
    down = ("--chat", "http://127.0.0.1:9/v1", "--chat-model", "secret-model", "--chat-key", SECRETS[0])
    async with over_stdio(uri, *down, log=tmp_path / "log") as client:
        result = await client.call_tool("ask", {"query": QUESTION})
    assert result.is_error
    assert said(result) == "The chat model did not answer. Use the search tool, or try again later."
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert "ask failed" in log
    assert SECRETS[0] not in log


async def test_the_configuration_in_the_readme_is_right(tmp_path: Path) -> None:
    [block] = re.findall(r"^```json\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    [server] = json.loads(block)["mcpServers"].values()
    assert server["command"] == "qwen3-rag"
    command, *arguments = server["args"]
    assert (command, arguments[0], arguments[-2]) == ("mcp", "--uri", "--chat")
    with Vllm(brain=brain, models=("Qwen/Qwen3-8B",)).serve() as chat:
        more = (*arguments[2:-1], chat)
        async with over_stdio(index(tmp_path), *more, log=tmp_path / "log", **server["env"]) as client:
            assert not (await client.call_tool("ask", {"query": QUESTION})).is_error
