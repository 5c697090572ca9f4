"""What `RemoteEmbedder` and `RemoteReranker` have in common beside their work."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from qwen3_core.remote.batching import Job
from qwen3_core.remote.check import Finding
from qwen3_core.remote.connection import Connection, Options

if TYPE_CHECKING:
    from typing_extensions import Self


class RemoteClient:
    """A model on a server: which it is, whether it can be trusted, and copies that share its connections."""

    _connection: Connection
    _options: Options

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor, from which an equal client can be made."""

    @abstractmethod
    def _model_name(self) -> Job[str]:
        """Learn the model's name where none was given."""

    @abstractmethod
    def _examine(self) -> Job[list[Finding]]:
        """Ask for what is known and return what is wrong."""

    def find_model(self) -> str:
        """Return the model's name, asked of the server if none was given; empty where the server wants none.

        Raises:
            ServerError: The server cannot be asked, or lists several.
        """
        return self._connection.run_one(self._model_name())

    def check(self) -> list[str]:
        """Ask for what is known and return what is wrong, as sentences; an empty list if nothing is.

        Raises:
            ServerError: The server cannot be reached, or refuses.
        """
        return [finding.text for finding in self._connection.run_one(self._examine())]

    async def acheck(self) -> list[str]:
        """See `check`."""
        return [finding.text for finding in await self._connection.arun_one(self._examine())]

    def _ready(self) -> Job[bool]:
        """Learn the model's name and, the first time, whether the server can be trusted.

        Raises:
            ServerError: It cannot, or cannot be asked.
        """
        yield from self._model_name()
        if not self._connection.checked:
            self._connection.heed((yield from self._examine()))
        return True

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (_made, (type(self), self._options.without_clients(self.settings)))


def _made(kind: type[Any], settings: dict[str, Any]) -> Any:
    return kind(**settings)
