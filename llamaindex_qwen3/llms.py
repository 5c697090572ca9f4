"""`Qwen3`: a chat model for LlamaIndex with thinking kept apart, on DashScope, llama.cpp, vLLM and their relatives.

It stands on the openai SDK rather than on LlamaIndex's OpenAILike, which pins ``openai<3`` and lets the
constructor's extra_body override the call's, loses reasoning in ``complete`` and leaves ``<think>`` in the answer.
"""

from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ChatResponseAsyncGen, ChatResponseGen

from llamaindex_qwen3.llm_output import ReplyReader, answered
from llamaindex_qwen3.llm_structured import StructuredQwen3
from qwen3_core.chat.errors import explained, whole_stream


class Qwen3(StructuredQwen3):
    """A Qwen3 chat model behind an OpenAI-compatible server.

    ```python
    llm = Qwen3(model="qwen3-8b", enable_thinking=True, thinking_budget=1024)  # DashScope
    llm = Qwen3(model="qwen3-8b", api_base="http://127.0.0.1:8080/v1", server="llama.cpp")
    response = llm.chat([ChatMessage("Which is larger, 9.11 or 9.9?")])
    response.message.content  # the answer alone
    [block.content for block in response.message.blocks if isinstance(block, ThinkingBlock)]
    llm.chat(messages, enable_thinking=False)  # this call only
    ```

    Where reasoning is: a ``ThinkingBlock`` before the ``TextBlock`` of a message; in streams
    ``additional_kwargs["thinking_delta"]`` of each response, while ``delta`` is the answer only; with `complete`
    ``additional_kwargs["reasoning"]``, and ``["reasoning_delta"]`` in its streams. Through layers that hand on
    strings only, `llamaindex_qwen3.reasoning.collect_reasoning` brings it along.

    Token counts and ``finish_reason`` are in ``additional_kwargs``, the server's last word in ``raw``. Every method
    takes the thinking arguments, ``extra_body`` and all other arguments of Chat Completions for
    one call, and the instance never changes. No ``OPENAI_*`` variable is used.

    Args:
        model: The server's name for the model.
        api_base: The server's URL, up to and including ``/v1``. Default: the environment variable
            ``DASHSCOPE_API_BASE``, else DashScope's Beijing endpoint.
        api_key: The key. For DashScope (by URL or ``server="dashscope"``) the default is the environment variable
            ``DASHSCOPE_API_KEY``, which goes nowhere else; for other servers a placeholder. `to_dict` leaves it
            out; a pickle holds it, since it is what another process works with.
        server: Which dialect the server speaks: "dashscope", "vllm", "sglang", "llama.cpp", "transformers", "ollama",
            "xinference", "lmstudio" or "openai". ``"auto"`` infers it from the URL: DashScope's hosts, the ports that
            Ollama, LM Studio, Xinference and SGLang have by default, and for every other URL what vLLM, SGLang and
            llama.cpp share. `qwen3-rag doctor --chat URL` asks the server what it is.
        region: DashScope's region instead of a URL, such as "ap-southeast-1". Keys are per region. ``api_base`` holds
            what it comes to, and ``region`` is None then.
        workspace: The id of a workspace, which has a host of its own in every region; the same holds.
        enable_thinking: True, False, None for the server's own default, or ``"auto"`` to decide for each question
            by ``thinking_rule``.
        thinking_budget: The most tokens to think for, at least 1; not sent while thinking is off. Every server that
            takes one has another field for it, so outside DashScope name the server.
        reasoning_effort: How hard to think: "low", "medium" or "xhigh" (Qwen3.8; "minimal" means low, "high" and
            "max" mean xhigh). "none" is ``enable_thinking=False``.
        preserve_thinking: Whether the model sees what it thought in earlier turns (Qwen3.6 and later). Within a tool
            loop it always does, where the server takes it.
        thinking_rule: Takes a question and its context and says whether thinking pays, for
            ``enable_thinking="auto"``; it is asked once for each call, and never for a model that has no choice.
            Default `qwen3_core.adaptive.needs_thinking`. `to_dict` leaves it out, so give it to `from_dict` anew; a
            pickle needs one that pickles, a function of a module for example.
        recommended_sampling: Whether the temperature, top_p and so on that the model's card recommends for thinking,
            or for not thinking, are sent where nothing else is set. Default True.
        tokenizer: A folder or a cached hub name with the model's ``tokenizer.json``, for `tokenizer_fn`; nothing is
            downloaded.
        temperature: None for what the model's card recommends. 0 is raised to that while the model thinks, with a
            warning: Qwen3 repeats itself endlessly when it thinks greedily.
        max_tokens: The longest answer; on servers of your own the reasoning counts.
        context_window: Prompt and answer together, as the server was started; default what is known of the model
            (`qwen3_core.models`), 32,768 for an unknown one.
        num_output: What query engines keep free for the answer; default ``max_tokens``, else 4,096; at most half of
            the window. The thinking budget does not count: it may be larger than a window has room for.
        timeout: Seconds that the server may stay silent. Connecting gives up after 10 s.
        max_retries: How often a failed request is sent again.
        extra_body: Fields of the server, sent with every request; those of a call are laid on them.
        additional_kwargs: Other arguments of Chat Completions (``top_p``, ``seed``, ``stop``...) for every request.
        default_headers: HTTP headers for every request; `to_dict` leaves them out.
        http_client: An ``httpx.Client`` to use (of ``httpx2`` with openai 3), for proxies and tests.
        async_http_client: The same for the asynchronous methods. The default one works in any event loop.

    What a server refuses is settled per call. DashScope refuses to think without streaming (before Qwen3.5), with a
    forced tool and, before Qwen3.7, with ``response_format``. So `chat` streams inside, and calls of the other kinds
    are sent with thinking off, which a debug message says. Structured output goes by ``response_format`` where the
    server holds the model to a JSON schema, and the model may think; else by a forced tool; else by the prompt.

    Raises:
        ValueError: No key for DashScope, an unknown argument, a server that is not known, or a wish that the server or
            the model has no way to meet, such as a budget for a model that does not think.
    """

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with explained(self.api_base, url_argument="api_base"), answered(self.api_base):
            yield

    def _chat(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponse:
        request = self._chat_request(messages, call)
        reader = self._reader(request)
        if request.get("stream"):
            deque(self._send_stream(request, reader), maxlen=0)
            return reader.whole()
        with self._explained():
            reply = self._connected.blocking.chat.completions.create(**request)
        return reader.read_whole(reply, self.api_base)

    async def _achat(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponse:
        request = self._chat_request(messages, call)
        reader = self._reader(request)
        if request.get("stream"):
            async for _ in self._asend_stream(request, reader):
                pass
            return reader.whole()
        with self._explained():
            reply = await self._connected.asynchronous.chat.completions.create(**request)
        return reader.read_whole(reply, self.api_base)

    def _stream(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponseGen:
        """Prepare a stream, so that wrong arguments are refused now; it is sent when its first piece is asked for."""
        request = self._stream_request(messages, call)
        return self._send_stream(request, self._reader(request))

    def _astream(self, messages: Sequence[ChatMessage], call: Mapping[str, Any]) -> ChatResponseAsyncGen:
        request = self._stream_request(messages, call)
        return self._asend_stream(request, self._reader(request))

    def _send_stream(self, request: dict[str, Any], reader: ReplyReader) -> Generator[ChatResponse, None, None]:
        create = self._connected.blocking.chat.completions.create
        with self._explained(), create(**request) as chunks, whole_stream(self.api_base, reader):
            for chunk in chunks:
                if response := reader.read(chunk):
                    yield response
        if response := reader.finish(self.api_base):
            yield response

    async def _asend_stream(self, request: dict[str, Any], reader: ReplyReader) -> AsyncGenerator[ChatResponse, None]:
        with self._explained():
            async with await self._connected.asynchronous.chat.completions.create(**request) as chunks:
                with whole_stream(self.api_base, reader):
                    async for chunk in chunks:
                        if response := reader.read(chunk):
                            yield response
        if response := reader.finish(self.api_base):
            yield response
