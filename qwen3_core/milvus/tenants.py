"""Many users in one collection: each sees, replaces and deletes its own rows only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from qwen3_core.milvus.expressions import Field
from qwen3_core.milvus.filters import PRIMARY_FIELD, compile_filter
from qwen3_core.milvus.literals import quote

TENANT_FIELD = "tenant"
"""The field that says whose a row is: the collection's partition key, by which a server also searches less."""

MAX_TENANT_BYTES = 255

_DIGITS = 32  # 128 bits: two of 10^15 names have the same with a probability of 10^-9


@dataclass(frozen=True)
class Tenant:
    """Whose rows are meant.

    The primary key of a row is made of tenant and id, so that two tenants may have the same id: a fixed number of
    characters, which are the same for all rows of a tenant, and then the id.

    Attributes:
        name: Any string of at most 255 UTF-8 bytes.

    Raises:
        TypeError: The name is no string.
        ValueError: It is empty, too long, or not valid Unicode.
    """

    name: str

    def __post_init__(self) -> None:
        """Refuse what is no name."""
        if not isinstance(self.name, str):
            msg = f"tenant={self.name!r}: pass a string."
            raise TypeError(msg)
        quote(self.name)
        if not self.name or len(self.name.encode()) > MAX_TENANT_BYTES:
            msg = f"tenant={self.name!r}: pass 1 to {MAX_TENANT_BYTES} bytes of UTF-8."
            raise ValueError(msg)

    @property
    def prefix(self) -> str:
        """What the primary keys of the tenant's rows begin with; free of wildcards."""
        return f"{hashlib.sha256(self.name.encode()).hexdigest()[:_DIGITS]}:"

    @property
    def condition(self) -> str:
        """The Milvus expression that the tenant's rows fulfil, and no others."""
        return compile_filter(Field(TENANT_FIELD) == self.name, fields=(TENANT_FIELD,))

    def stamp(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row as it is stored."""
        return {**row, PRIMARY_FIELD: self.prefix + row[PRIMARY_FIELD], TENANT_FIELD: self.name}

    def unstamp(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a stored row as its writer gave it."""
        own = {key: value for key, value in row.items() if key != TENANT_FIELD}
        if PRIMARY_FIELD in own:
            own[PRIMARY_FIELD] = own[PRIMARY_FIELD].removeprefix(self.prefix)
        return own
