"""A web service over one Milvus collection: one store for all requests, each tenant with its own documents.

    pip install "qwen3-rag[langchain,local]" fastapi uvicorn
    STORE_URI=http://127.0.0.1:19530 uvicorn web_service:app --app-dir examples

    curl -X POST localhost:8000/documents -H 'X-Tenant: acme' -H 'Content-Type: application/json' \
        -d '[{"text": "Vectors are kept in object storage.", "metadata": {"page": 3}}]'
    curl -X POST localhost:8000/search -H 'X-Tenant: acme' -H 'Content-Type: application/json' \
        -d '{"question": "Where are vectors kept?", "filter": {"page": [3, 4]}}'

A Milvus Lite file (the default) allows one process; `uvicorn --workers 4` needs a server.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, JsonValue

from langchain_qwen3 import Qwen3Embeddings, Qwen3Rerank, Qwen3Retriever, create_vector_store
from langchain_qwen3.vector_store import Qwen3VectorStore
from qwen3_core.local import DEFAULT_EMBEDDING_MODEL, DEFAULT_RERANKER_MODEL
from qwen3_core.milvus.errors import MilvusStoreError, MilvusTimeoutError, MilvusUnavailableError

log = logging.getLogger("uvicorn.error")

# Here the caller says who it is. In a real service this comes from what you authenticate: a token, a session.
Tenant = Annotated[str, Header(alias="X-Tenant", min_length=1, max_length=255)]
Value = str | int | float | bool | None


class Text(BaseModel):
    """A document to store."""

    text: str
    metadata: dict[str, JsonValue] = {}


class Search(BaseModel):
    """A question, and what the metadata of documents must be."""

    question: str
    filter: dict[str, Value | list[Value]] = {}


class Found(BaseModel):
    """A document that was found, best first."""

    id: str
    text: str
    metadata: dict[str, JsonValue]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the store and load the weights before the first request; close the store after the last one."""
    setting = os.environ.get  # not MILVUS_URI: pymilvus reads that itself, and fails if it is a path
    embeddings = Qwen3Embeddings(model=setting("EMBEDDING", DEFAULT_EMBEDDING_MODEL))
    reranker = Qwen3Rerank(model=setting("RERANKER", DEFAULT_RERANKER_MODEL))
    store = await asyncio.to_thread(
        create_vector_store,
        embeddings,
        uri=setting("STORE_URI", "./milvus.db"),
        token=setting("STORE_TOKEN"),
        collection_name=setting("STORE_COLLECTION", "service"),
        tenants=True,
        timeout=float(setting("STORE_TIMEOUT", "10")),
    )
    try:
        await embeddings.aembed_query("Are you ready?")
        app.state.store = store
        app.state.retriever = Qwen3Retriever(vector_store=store, reranker=reranker, fetch_k=10, k=3)
        yield
    finally:
        await asyncio.to_thread(store.close)


app = FastAPI(title="Questions to your documents", lifespan=lifespan)


@app.post("/documents", status_code=HTTPStatus.CREATED)
def add(documents: list[Text], tenant: Tenant, request: Request) -> list[str]:
    """Store documents and return their ids. FastAPI runs functions without `async` in threads of its own."""
    store: Qwen3VectorStore = request.app.state.store
    texts, metadatas = [each.text for each in documents], [dict(each.metadata) for each in documents]
    return store.add_texts(texts, metadatas, tenant=tenant)


@app.delete("/documents/{document}", status_code=HTTPStatus.NO_CONTENT)
async def delete(document: str, tenant: Tenant, request: Request) -> None:
    """Delete a document; one that does not exist is no error."""
    await request.app.state.store.adelete([document], tenant=tenant)


@app.post("/search")
async def search(wanted: Search, tenant: Tenant, request: Request) -> list[Found]:
    """Return the tenant's documents that answer a question best."""
    retriever: Qwen3Retriever = request.app.state.retriever
    found = await retriever.ainvoke(wanted.question, filter=wanted.filter, tenant=tenant)
    return [Found(id=each.id or "", text=each.page_content, metadata=each.metadata) for each in found]


@app.get("/health")
async def health(request: Request) -> str:
    """Say "ok" if Milvus answers."""
    await asyncio.to_thread(request.app.state.store.client.get_server_version)
    return "ok"


@app.exception_handler(ValueError)
async def refused(_: Request, error: ValueError) -> JSONResponse:
    """Tell the caller what is wrong with a document or a question: the messages are meant for it."""
    return JSONResponse({"detail": str(error)}, HTTPStatus.UNPROCESSABLE_ENTITY)


@app.exception_handler(MilvusStoreError)
async def failed(_: Request, error: MilvusStoreError) -> JSONResponse:
    """Tell the caller whether to try again, and the log what happened."""
    status = HTTPStatus.BAD_GATEWAY
    if isinstance(error, MilvusUnavailableError):
        status = HTTPStatus.SERVICE_UNAVAILABLE
    elif isinstance(error, MilvusTimeoutError):
        status = HTTPStatus.GATEWAY_TIMEOUT
    log.error("%s", error)
    return JSONResponse({"detail": status.phrase}, status)
