"""What the documents name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FEATURES = (HERE.parent / "docs" / "features.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(test_\w+\.py)?(?:::(\w+))?(?:::(test_\w+))?`", FEATURES)


def named() -> list[tuple[str, str]]:
    """Every file and test that the table names; a name without a file is in the file before it."""
    found, file = [], ""
    for in_file, *names in NAMED:
        file = in_file or file
        found += [(file, name) for name in names if name] or ([(file, "")] if in_file else [])
    return found


@pytest.mark.parametrize(("file", "name"), sorted(set(named())))
def test_a_named_test_exists(file: str, name: str) -> None:
    source = (HERE / file).read_text(encoding="utf-8")
    suites = "ChatModelIntegrationTests" in source or "LLMContract" in source  # their tests are inherited
    assert not name or suites or re.search(rf"^ *(async )?(def|class) {name}\b", source, flags=re.MULTILINE), name


def test_all_rows_are_there() -> None:
    rows = [int(number) for number in re.findall(r"^\| (\d+) \|", FEATURES, flags=re.MULTILINE)]
    assert rows == [*range(1, 33), *range(26, 42)]
