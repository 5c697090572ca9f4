"""JSON that is still being written, read as far as it goes."""

import json
import re
from typing import Any

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*(?P<closed>")?|[{}\[\],]', re.DOTALL)
_HALF_A_LETTER = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}$")  # the first escape of the two that make one


def read_partial_json(text: str) -> Any:
    """Return the value of a JSON text that may end anywhere; None if not even its first bracket is there.

    A string that is cut is shown as far as it goes. A key without its value, and a word such as ``tru``, are left out.
    What comes before the first bracket, and behind the one that closes it, does not count.

    Raises:
        ValueError: It is no beginning of a JSON object or array.
    """
    start = re.search(r"[{\[]", text)
    if start is None:
        return None
    text = text[start.start() :]
    closing = ""  # what closes the brackets that are open
    certain = 0, ""  # the end of the longest beginning that is sure to be whole when it is closed, and what closes it
    cut = None  # the string that is open
    for token in _TOKENS.finditer(text):
        kind = token[0][0]
        if kind == '"':
            cut = None if token["closed"] else token
        elif kind in "{[":
            closing = ("}" if kind == "{" else "]") + closing
            certain = token.end(), closing
        elif kind == ",":
            certain = token.start(), closing
        else:
            closing = closing[1:]
            if not closing:
                return json.loads(text[: token.end()])
    try:
        return json.loads(text + closing if cut is None else _HALF_A_LETTER.sub("", text[: cut.end()]) + '"' + closing)
    except ValueError:
        end, closing = certain
        return json.loads(text[:end] + closing)
