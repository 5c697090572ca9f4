"""What a transfer did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TransferSummary:
    """What an export or an import did.

    Attributes:
        collection: The collection that was read or written.
        rows: Rows in the export, all of which are there now.
        written: How many of them this run wrote; the others were there already.
        shards: Files of the export.
        seconds: How long it took.
        bulk: Whether the server read the files itself.
    """

    collection: str
    rows: int
    written: int
    shards: int
    seconds: float
    bulk: bool = False
