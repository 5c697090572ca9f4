"""The pieces in which servers stream tool calls, each put to the call that it belongs to."""

import json
import uuid
from dataclasses import dataclass


@dataclass
class _Call:
    index: int | None
    id: str
    name: str
    arguments: str

    @property
    def whole(self) -> bool:
        """Whether the arguments that came are a JSON object."""
        try:
            return isinstance(json.loads(self.arguments), dict)
        except ValueError:
            return False


@dataclass(frozen=True)
class CallPiece:
    """What is new in a piece.

    Attributes:
        number: The call's place among the calls of the answer, from 0.
        id: The call's id, None where an earlier piece had it; a new one where the server gives none.
        name: The tool's name, None where an earlier piece had it.
    """

    number: int
    id: str | None
    name: str | None


def new_call_id() -> str:
    """Return an id for a call whose server gives none; results could not be put to it otherwise."""
    return f"call_{uuid.uuid4().hex}"


class CallPieces:
    """Tells which call each piece of one stream belongs to.

    OpenAI numbers the calls with ``index`` and sends id and name once. Servers of Qwen3 do that and more: DashScope's
    later pieces have an empty id; SGLang before 0.4.7 gave the first piece the tool's place in the request as its
    index and the others another one (sgl-project/sglang#6310), with an id that is new or the same in every piece; some
    give parallel calls one index (vLLM and SGLang in InternLM/lmdeploy#3412) or none at all. What all of them agree on
    is that a call begins with its name.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def add(self, *, index: int | None, id: str | None, name: str | None, arguments: str | None) -> CallPiece:  # noqa: A002
        """Take in the next piece, with its fields as they came, and return what of it is new."""
        number = self._number(index, id or "", name or "")
        new = number == len(self._calls)
        if new:
            self._calls.append(_Call(index, id or "", "", ""))
        call = self._calls[number]
        piece = CallPiece(number, (id or new_call_id()) if new else None, None if call.name else name or None)
        call.name = call.name or name or ""
        call.arguments += arguments or ""
        return piece

    def _number(self, index: int | None, id_: str, name: str) -> int:
        """Return the place of the call that a piece belongs to: behind the last for a new one."""
        last = len(self._calls) - 1
        same_id = [number for number, call in enumerate(self._calls) if id_ and call.id == id_]
        if same_id or last < 0:
            return same_id[-1] if same_id else 0
        if name:
            call = self._calls[last]
            repeated = not id_ and call.index == index and call.name in ("", name) and not call.whole
            return last if repeated else last + 1
        if self._calls[last].index == index:
            return last
        # Pieces of several calls may alternate; what is whole already has no more pieces.
        return next((n for n, call in enumerate(self._calls) if call.index == index and not call.whole), last)
