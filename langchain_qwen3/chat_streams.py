"""The chat completions of the openai SDK, with answers and the chunks of streams as plain dicts.

Making its classes of every chunk takes the SDK longer than all that follows, and langchain-openai turns them into dicts
again: a stream costs a quarter this way, a whole answer a tenth less (``benchmarks/chat_overhead.py``).
"""

from typing import Any

import openai


class Completions:
    """What `langchain_openai` asks for chat: `openai.resources.chat.Completions`, as far as it uses them.

    Args:
        completions: The SDK's own.
    """

    def __init__(self, completions: Any) -> None:
        self.with_raw_response = RawCompletions(completions.with_raw_response)

    def create(self, **payload: Any) -> Any:
        """Send a request; return a dict, or a stream of dicts."""
        return self.with_raw_response.create(**payload).parse()


class AsyncCompletions:
    """The same for `openai.resources.chat.AsyncCompletions`."""

    def __init__(self, completions: Any) -> None:
        self.with_raw_response = AsyncRawCompletions(completions.with_raw_response)

    async def create(self, **payload: Any) -> Any:
        """Send a request; return a dict, or a stream of dicts."""
        return (await self.with_raw_response.create(**payload)).parse()


class RawCompletions:
    """Where the headers of a response are wanted as well."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def create(self, **payload: Any) -> Any:
        """Send a request; return the response."""
        return _Response(self._raw.create(**payload), openai.Stream[object] if payload.get("stream") else object)


class AsyncRawCompletions(RawCompletions):
    """The same, async."""

    async def create(self, **payload: Any) -> Any:
        """Send a request; return the response."""
        to = openai.AsyncStream[object] if payload.get("stream") else object
        return _Response(await self._raw.create(**payload), to)


class _Response:
    """A response of the SDK's that is parsed to plain objects."""

    def __init__(self, response: Any, to: Any) -> None:
        self._response, self._to = response, to

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    def parse(self) -> Any:
        return self._response.parse(to=self._to)
