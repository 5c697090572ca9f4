r"""Values and names as Milvus's expressions spell them, so that nothing in them becomes part of the expression.

Milvus Lite 3.2 has no filter templates (https://github.com/milvus-io/milvus-lite/issues/327), so values are
written into the expression as literals, escaped here. Its tokenizer knows six escapes (`\"`, `\'`, `\\`,
`\n`, `\r`, `\t`) and takes every other character as it stands; a server's grammar accepts the same.
"""

from __future__ import annotations

import math
from typing import Any

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_MAX_INT = 2**63 - 1


def quote(text: str) -> str:
    """Return a string literal.

    Raises:
        ValueError: The text is not valid Unicode.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        msg = f"{text!r} is not valid Unicode (a lone surrogate) and cannot be sent to Milvus."
        raise ValueError(msg) from error
    return f'"{text.translate(_ESCAPES)}"'


def literal(key: str, value: Any) -> str:
    """Return the literal of a value.

    Args:
        key: The metadata key that it is compared with, for messages.
        value: str, bool, int of at most 64 bits, or a finite float.

    Raises:
        TypeError: The value has another type.
        ValueError: The number is not finite or leaves 64 bits, or the string is not valid Unicode.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, int):
        if abs(value) > _MAX_INT:
            msg = f"The value of filter key {key!r} leaves the range of 64-bit integers."
            raise ValueError(msg)
        return int.__repr__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            msg = f"The value of filter key {key!r} is {value}; Milvus compares finite numbers only."
            raise ValueError(msg)
        return float.__repr__(value)
    msg = (
        f"The value of filter key {key!r} is a {type(value).__name__}; a filter takes str, bool, int, float, "
        "None, and lists, tuples or sets of these."
    )
    raise TypeError(msg)


def pattern(key: str, text: Any) -> str:
    """Return the literal of the pattern "has this text in it".

    Raises:
        TypeError: `text` is no string.
        ValueError: It has a character that Milvus reads as a wildcard, or is not valid Unicode.
    """
    if not isinstance(text, str):
        msg = f"A text to look for in {key!r} is a string, not {type(text).__name__}."
        raise TypeError(msg)
    if set(text) & set("%_\\"):
        msg = f"{text!r}: Milvus reads %, _ and \\ as a pattern and has no way to mean the characters. Leave them out."
        raise ValueError(msg)
    return f'"%{quote(text)[1:-1]}%"' if text else '"%"'
