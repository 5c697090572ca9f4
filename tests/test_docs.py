"""What the documents name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from servers_table import COLUMNS, table
from vllm_server import rerank_template

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
FEATURES = (DOCS / "features.md").read_text(encoding="utf-8")
TRAPS = (DOCS / "milvus_traps.md").read_text(encoding="utf-8")
SERVERS = (DOCS / "servers.md").read_text(encoding="utf-8")
STORE_CONTRACT = HERE.parent / "llamaindex_qwen3" / "testing" / "vector_store.py"


def named(text: str) -> list[tuple[str, str]]:
    """Every file and test that a table names; a name without a file is in the file before it."""
    found, file = [], ""
    for in_file, *names in re.findall(r"`(test_\w+\.py)?(?:::(\w+))?(?:::(test_\w+))?`", text):
        file = in_file or file
        found += [(file, name) for name in names if name] or ([(file, "")] if in_file else [])
    return found


@pytest.mark.parametrize(("file", "name"), sorted({*named(FEATURES), *named(TRAPS), *named(SERVERS)}))
def test_a_named_test_exists(file: str, name: str) -> None:
    source = (HERE / file).read_text(encoding="utf-8")
    suites = "ChatModelIntegrationTests" in source or "LLMContract" in source  # their tests are inherited
    if "MilvusStoreContract" in source:
        source += STORE_CONTRACT.read_text(encoding="utf-8")
    assert not name or suites or re.search(rf"^ *(async )?(def|class) {name}\b", source, flags=re.MULTILINE), name


def test_all_rows_are_there() -> None:
    rows = [int(number) for number in re.findall(r"^\| (\d+) \|", FEATURES, flags=re.MULTILINE)]
    assert rows == [*range(1, 33), *range(26, 42)]


def test_every_trap_names_a_test() -> None:
    rows = [row for row in TRAPS.splitlines() if row.startswith("| ") and not row.startswith("| trap")]
    assert len(rows) > 50
    assert [row for row in rows if len(named(row)) == 0 or row.count(" | ") != 2] == []


def test_the_table_of_servers_is_the_codes() -> None:
    assert table() in SERVERS, "python tests/servers_table.py prints what it should be"


def test_every_cell_about_a_server_names_a_test() -> None:
    legend = set(re.findall(r"^(\d)\. `test_", SERVERS, flags=re.MULTILINE))
    for row in table().splitlines()[2:]:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == len(COLUMNS)
        for cell in cells[1:]:
            assert cell == "-" or cell[-2:-1] in legend, cell


def test_the_rerank_template_for_vllm_is_the_prompt() -> None:
    assert (DOCS / "qwen3_reranker.jinja").read_text(encoding="utf-8") == rerank_template()
