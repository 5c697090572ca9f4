"""Chat servers that answer by a script, one for each dialect, each with the real server's rules.

```python
server = Vllm(content="9.9 is larger.")
ChatQwen3(model="Qwen/Qwen3-8B", server="vllm", base_url=server.url, **server.clients()).invoke("9.11 or 9.9?")
server.last  # the body that came; server.seen: what of it reached the chat template
with server.serve() as base_url: ...  # the same on a loopback port
```
"""

from scripted_chat.base import ScriptedChat
from scripted_chat.dashscope import DashScope
from scripted_chat.faults import Cut, Delay, Empty, ErrorEvent, Fault, Status
from scripted_chat.llama_cpp import LlamaCpp
from scripted_chat.lmstudio import LmStudio
from scripted_chat.model import Brain, Family, Plan, Reply, Seen
from scripted_chat.ollama import Ollama
from scripted_chat.openai_generic import OpenAIGeneric
from scripted_chat.rules import Refusal
from scripted_chat.sglang import Sglang
from scripted_chat.transformers_serve import TransformersServe
from scripted_chat.vllm import Vllm
from scripted_chat.wire import httpx
from scripted_chat.xinference import Xinference

SERVERS: dict[str, type[ScriptedChat]] = {
    each.server: each
    for each in (DashScope, Vllm, Sglang, LlamaCpp, TransformersServe, Ollama, Xinference, LmStudio, OpenAIGeneric)
}
"""The servers by the words that the project has for them."""

__all__ = [
    "SERVERS",
    "Brain",
    "Cut",
    "DashScope",
    "Delay",
    "Empty",
    "ErrorEvent",
    "Family",
    "Fault",
    "LlamaCpp",
    "LmStudio",
    "Ollama",
    "OpenAIGeneric",
    "Plan",
    "Refusal",
    "Reply",
    "ScriptedChat",
    "Seen",
    "Sglang",
    "Status",
    "TransformersServe",
    "Vllm",
    "Xinference",
    "httpx",
]
