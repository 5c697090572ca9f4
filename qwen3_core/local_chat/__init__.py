"""Qwen3 chat with local weights: one engine for both frameworks.

The decode loop is a plain generator: whoever stops reading stops the model, and no thread is left running. Nothing
here imports torch until a model is first used; `options` checks what is asked for, `template` writes the prompt,
`decoding` runs the loop over `generation`, and `reply` and `tool_calls` read what the model wrote.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen3_core.adaptive import decide
from qwen3_core.base import DType
from qwen3_core.families import Sampling, recommended_sampling
from qwen3_core.local import INSTALL_LOCAL, Lazy
from qwen3_core.local_chat.decoding import Decoding, Texts
from qwen3_core.local_chat.options import ChatOptions
from qwen3_core.local_chat.reply import Piece
from qwen3_core.local_chat.template import Prompt
from qwen3_core.workers import Workers

if TYPE_CHECKING:
    from qwen3_core.local_chat.generation import Network

logger = logging.getLogger(__name__)

DEFAULT_CHAT_MODEL = "Qwen/Qwen3-0.6B"
"""The smallest of the family: what a laptop answers with in a moment."""

_MINI = "mini"
_END = Piece()


class LocalChat:
    """A Qwen3 chat model in this process.

    Args:
        model: A hub name or a local folder: Qwen3, Instruct-2507, Thinking-2507, Qwen3-Next, Qwen3.5 and later.
        device: A torch device; None takes CUDA, then MPS, then the CPU.
        dtype: "auto", "float32", "bfloat16" or "float16". "auto" is bfloat16 where the hardware has it and
            float32 elsewhere, never float16.
        revision: Branch, tag or commit on the hub.
        cache_folder: Where downloads are kept; None is the hub library's own cache.

    The weights are loaded on first use. Calls from several threads are safe. Copies in other processes load weights
    of their own.
    """

    def __init__(
        self,
        model: str = DEFAULT_CHAT_MODEL,
        *,
        device: str | None = None,
        dtype: DType = "auto",
        revision: str | None = None,
        cache_folder: str | None = None,
    ) -> None:
        self.model, self.device, self.dtype = model, device, dtype
        self.revision, self.cache_folder = revision, cache_folder
        folder = Lazy(_resolve, model, revision, cache_folder)
        self._texts = Lazy(_load_texts, folder, model)
        self._network: Lazy[Network] = Lazy(_load_network, folder, device, dtype)
        self._worker = Workers()

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor, from which an equal engine can be made."""
        return {name: getattr(self, name) for name in ("model", "device", "dtype", "revision", "cache_folder")}

    def token_ids(self, text: str) -> list[int]:
        """Return the ids of a text as they reach the model. Only the tokenizer is loaded."""
        return self._texts.get().tokenizer.data(text)

    def count_tokens(self, messages: Sequence[Mapping[str, Any]], options: ChatOptions | None = None) -> int:
        """Return the number of tokens that the model reads for a conversation; see `stream`."""
        return len(self._prompt(messages, options or ChatOptions()).ids)

    def stream(self, messages: Sequence[Mapping[str, Any]], options: ChatOptions | None = None) -> Iterator[Piece]:
        """Answer a conversation piece by piece. To stop the model, stop reading.

        Args:
            messages: In the format of Chat Completions, text only; ``reasoning_content`` of an assistant's message
                is shown to the model again where its template wants that, within a tool loop.
            options: How to answer.

        Yields:
            Reasoning, answer and tool calls as they become certain, and at last how it ended.

        Raises:
            OSError: If the model cannot be found or fetched.
            ValueError: If the model is no chat model, or the conversation cannot be rendered or is too long.
            FloatingPointError: If the model computes something that is not a number.
        """
        return (piece for piece in self._steps(messages, options or ChatOptions()) if piece is not None)

    async def astream(
        self, messages: Sequence[Mapping[str, Any]], options: ChatOptions | None = None
    ) -> AsyncIterator[Piece]:
        """Answer without blocking the event loop; see `stream`.

        Streams take turns, one forward pass each. A task that is cancelled stops its model after the pass that runs.
        """
        steps = self._steps(messages, options or ChatOptions())
        while (piece := await self._worker.run(next, steps, _END)) is not _END:
            if piece is not None:
                yield piece

    def _steps(self, messages: Sequence[Mapping[str, Any]], options: ChatOptions) -> Iterator[Piece | None]:
        """Yield after each forward pass, None where it made nothing certain."""
        prompt = self._prompt(messages, options)
        sampling = self._sampling(prompt, options)
        decoding = Decoding(self._texts.get(), self._network.get(), prompt, options, sampling)
        yield None
        yield from decoding.steps()

    def _prompt(self, messages: Sequence[Mapping[str, Any]], options: ChatOptions) -> Prompt:
        template = self._texts.get().template
        forced, switch = bool(options.forced_tools), options.enable_thinking
        if forced and switch is not False:
            logger.debug("thinking is off for this call: a tool is forced")
        elif switch == "auto":
            switch = decide(messages, options.thinking_rule) if template.has_switch else None
            logger.debug("enable_thinking is %s for this call, by the rule for 'auto'", switch)
        return template.prompt(
            messages,
            options.offered_tools,
            enable_thinking=None if switch == "auto" else switch,
            skip_thinking=forced,
            variables=options.template_variables,
        )

    def _sampling(self, prompt: Prompt, options: ChatOptions) -> Sampling:
        """Lay the caller's settings on those that the model's card recommends, on Qwen3's where no card says."""
        cards = (recommended_sampling(name, thinking=prompt.thinks) for name in (self.model, DEFAULT_CHAT_MODEL))
        recommended = next(card for card in cards if card)
        given = {setting.name: getattr(options, setting.name) for setting in fields(Sampling)}
        if prompt.thinks and options.temperature == 0:
            logger.warning(
                "temperature=0 is greedy, and %s repeats itself endlessly when it thinks greedily; %s is used. "
                "For the same text every time set a seed.",
                self.model,
                recommended.temperature,
            )
            given["temperature"] = None
        return replace(recommended, **{name: value for name, value in given.items() if value is not None})


def _resolve(model: str, revision: str | None, cache_folder: str | None) -> Path:
    if model == _MINI:
        msg = f'there is no "mini" chat model: pass a folder, or a hub name such as {DEFAULT_CHAT_MODEL!r}'
        raise ValueError(msg)
    try:
        from qwen3_core import checkpoint
    except ImportError as error:
        raise ImportError(INSTALL_LOCAL) from error
    # The kind tells only the two models called "mini" apart.
    return checkpoint.resolve(model, "reranker", revision=revision, cache_folder=cache_folder)


def _load_texts(folder: Lazy[Path], model: str) -> Texts:
    return Texts(folder.get(), model)


def _load_network(folder: Lazy[Path], device: str | None, dtype: DType) -> Network:
    from qwen3_core.local_chat.generation import Network

    return Network(folder.get(), device=device, dtype=dtype)
