"""The chat completions of the openai SDK, with the chunks of their streams as plain dicts.

Making its classes of every chunk takes the SDK longer than all that follows, and langchain-openai turns them into dicts
again: a stream costs a quarter this way (``benchmarks/chat_overhead.py``).
"""

from typing import Any

import openai


class Completions:
    """What `langchain_openai` asks for chat: `openai.resources.chat.Completions`, as far as it uses them.

    Args:
        completions: The SDK's own.
    """

    def __init__(self, completions: Any) -> None:
        self._completions = completions

    @property
    def with_raw_response(self) -> Any:
        """The SDK's own."""
        return self._completions.with_raw_response

    def create(self, **payload: Any) -> Any:
        """Send a request; a stream yields dicts."""
        if not payload.get("stream"):
            return self._completions.create(**payload)
        return self.with_raw_response.create(**payload).parse(to=openai.Stream[object])


class AsyncCompletions(Completions):
    """The same for `openai.resources.chat.AsyncCompletions`."""

    async def create(self, **payload: Any) -> Any:
        """Send a request; a stream yields dicts."""
        if not payload.get("stream"):
            return await self._completions.create(**payload)
        return (await self.with_raw_response.create(**payload)).parse(to=openai.AsyncStream[object])
