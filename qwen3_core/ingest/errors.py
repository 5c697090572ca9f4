"""What cannot be read, and why."""

from __future__ import annotations


class IngestError(ValueError):
    """Files that cannot be read; the message has a line for each that says why and what to do."""
