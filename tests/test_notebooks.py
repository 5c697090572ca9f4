"""The notebooks run from top to bottom, and the outputs that they are kept with are those of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def read(notebook: Path) -> Any:
    return nbformat.reads(notebook.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
# zmq, which carries the kernel's messages, leaves its sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_runs(notebook: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = read(notebook)
    if notebook.stem == "thinking_modes":  # takes whatever chat model is configured
        monkeypatch.setenv("QWEN3_CHAT_FOLDER", str(request.getfixturevalue("chat_folder")))
    NotebookClient(cells, timeout=240, resources={"metadata": {"path": str(notebook.parent)}}).execute()
    kinds = {data for cell in cells.cells for output in cell.get("outputs", []) for data in output.get("data", {})}
    assert "image/png" in kinds


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_kept_with_its_outputs(notebook: Path) -> None:
    code = [cell for cell in read(notebook).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
    kept = notebook.read_text(encoding="utf-8")
    assert "/site-packages/" not in kept
    assert str(Path.home()) + "/" not in kept
