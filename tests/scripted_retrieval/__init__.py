"""Embedding and rerank servers that answer by a script, one for each dialect, each with the real server's rules.

```python
server = Vllm(size=64)
client = SomeClient(base_url=server.url, **server.clients())  # clients of the package httpx
with server.serve() as base_url: ...  # the same on a loopback port
server.requests, server.seen_texts, server.ignored  # what came, what reached the tokenizer, what nobody looked at
```
"""

from scripted_retrieval.answers import Refusal, Seen
from scripted_retrieval.base import ScriptedRetrieval
from scripted_retrieval.dashscope import DashScope, DashScopeNative
from scripted_retrieval.faults import (
    Cut,
    Delay,
    Drop,
    DuplicateIndex,
    Fault,
    NotFinite,
    Page,
    Shuffled,
    Status,
    WrongCount,
)
from scripted_retrieval.llama_cpp import LlamaCpp
from scripted_retrieval.lmstudio import LmStudio
from scripted_retrieval.model import count_tokens
from scripted_retrieval.ollama import Ollama
from scripted_retrieval.openai_generic import OpenAIGeneric
from scripted_retrieval.sglang import Sglang
from scripted_retrieval.tei import Tei
from scripted_retrieval.vllm import Vllm
from scripted_retrieval.xinference import Xinference

SERVERS: dict[str, type[ScriptedRetrieval]] = {
    each.server: each
    for each in (Vllm, Sglang, LlamaCpp, Tei, Ollama, LmStudio, Xinference, DashScope, DashScopeNative, OpenAIGeneric)
}
"""The servers by the words that the project has for them."""

__all__ = [
    "SERVERS",
    "Cut",
    "DashScope",
    "DashScopeNative",
    "Delay",
    "Drop",
    "DuplicateIndex",
    "Fault",
    "LlamaCpp",
    "LmStudio",
    "NotFinite",
    "Ollama",
    "OpenAIGeneric",
    "Page",
    "Refusal",
    "ScriptedRetrieval",
    "Seen",
    "Sglang",
    "Shuffled",
    "Status",
    "Tei",
    "Vllm",
    "WrongCount",
    "Xinference",
    "count_tokens",
]
