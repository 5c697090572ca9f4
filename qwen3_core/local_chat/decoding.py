"""The decode loop of a local chat model: read, choose, sort; with what has to be written forced in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from qwen3_core.families import Sampling
from qwen3_core.local_chat.options import ChatOptions
from qwen3_core.local_chat.reply import Finish, FinishReason, Piece, TokenReader, Vocabulary
from qwen3_core.local_chat.template import ChatTemplate, Prompt
from qwen3_core.local_chat.tool_calls import begin_call
from qwen3_core.prompts import THINKING_STOP
from qwen3_core.tokens import TextTokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from qwen3_core.local_chat.generation import Network

END_OF_THINKING = f"{THINKING_STOP}\n</think>\n\n"
"""What is put into the model's mouth when its budget is spent."""


class Texts:
    """Everything about a checkpoint that needs no weights.

    Args:
        folder: A local folder.
        model: What the user calls it, for messages.

    Raises:
        ValueError: If the folder has no tokenizer, or no chat template that works.
    """

    def __init__(self, folder: Path, model: str) -> None:
        from qwen3_core import checkpoint

        loaded = checkpoint.load_tokenizer(folder)
        self.tokenizer = TextTokenizer(loaded)
        self.template = ChatTemplate(loaded, self.tokenizer, model)
        self.vocabulary = Vocabulary(loaded)


class _Plan:
    """What the model has to write next: one of several ways, each a list of ids; none of them begins another."""

    def __init__(self, ways: Sequence[list[int]] = ()) -> None:
        self._ways = [list(way) for way in ways]

    def certain(self) -> list[int]:
        """Take the ids that all ways share."""
        shared: list[int] = []
        for column in zip(*self._ways, strict=False):
            if len(set(column)) > 1:
                break
            shared.append(column[0])
        self._ways = [way[len(shared) :] for way in self._ways]
        return shared

    def allowed(self) -> list[int] | None:
        """Return the ids that may come next, None if all may."""
        return sorted({way[0] for way in self._ways if way}) or None

    def wrote(self, token: int) -> None:
        """Keep the ways that go on from a token."""
        self._ways = [way[1:] for way in self._ways if way and way[0] == token]


class Decoding:
    """One reply while it is made.

    Args:
        texts: The checkpoint without its weights.
        network: The weights.
        prompt: What the model reads first.
        options: How to answer.
        sampling: How to choose tokens.

    Raises:
        ValueError: If the prompt leaves no room in the window, or a tool is forced and the tokenizer knows none.
    """

    def __init__(
        self, texts: Texts, network: Network, prompt: Prompt, options: ChatOptions, sampling: Sampling
    ) -> None:
        from qwen3_core.local_chat.generation import Sampler

        self._texts, self._network, self._prompt, self._options = texts, network, prompt, options
        self._sampler = Sampler(sampling, options.seed)
        self._reader = TokenReader(
            texts.vocabulary, inside=prompt.inside, tools=options.offered_tools, stop=options.stops
        )
        self._plan = _Plan(self._ways_to_begin())
        self._most = self._room()
        self._count = 0
        self._ended = False

    def steps(self) -> Iterator[Piece | None]:
        """Yield after each forward pass: the pieces that it made certain, and None."""
        unread, cache, begun = list(self._prompt.ids), None, False
        while (reason := self._reason()) is None:
            tokens = self._plan.certain()
            if not tokens:
                for portion in self._network.portions(unread, begun=begun):
                    scores, cache = self._network.read(portion, cache)
                    yield None
                unread, begun = [], True
                tokens = [self._sampler.choose(scores, self._plan.allowed())]
                self._plan.wrote(tokens[0])
            for token in tokens[: self._most - self._count]:
                unread.append(token)
                yield from self._take(token)
        yield from self._reader.finish()
        if self._reader.calls and reason == "stop":
            reason = "tool_calls"
        yield Piece(finish=Finish(reason, len(self._prompt.ids), self._count, self._reader.thinking_tokens))

    def _take(self, token: int) -> list[Piece]:
        self._count += 1
        if token in self._texts.vocabulary.ends | self._network.ends:
            self._ended = True
            return []
        self._sampler.saw(token)
        pieces = self._reader.read(token)
        if self._reader.is_thinking and self._reader.thinking_tokens == self._options.thinking_budget:
            self._plan = _Plan([self._texts.tokenizer.control(END_OF_THINKING)])
        return pieces

    def _reason(self) -> FinishReason | None:
        """Return why the reply is over, None while it is not."""
        if self._ended or self._reader.has_stopped:
            return "stop"
        if self._options.most_calls is not None and self._reader.calls >= self._options.most_calls:
            return "stop"
        return "length" if self._count >= self._most else None

    def _ways_to_begin(self) -> list[list[int]]:
        names = self._options.forced_tools
        call = self._texts.vocabulary.call
        if not names:
            return []
        if call is None:
            msg = "the tokenizer has no token <tool_call>: this model knows no tools"
            raise ValueError(msg)
        template, data = self._texts.template, self._texts.tokenizer.data
        return [[call, *data(begin_call(name, template.tool_format))] for name in dict.fromkeys(names)]

    def _room(self) -> int:
        window, length = self._network.window, len(self._prompt.ids)
        if length >= window:
            msg = f"the conversation has {length} tokens and the model a window of {window}: shorten it"
            raise ValueError(msg)
        return min(self._options.max_tokens or window, window - length)
