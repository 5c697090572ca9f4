"""From files to chunks: where the cuts fall, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_core.ingest import IngestError, load_chunks, split_text

FAQ = """---
id: faq
title: Not a heading
---

# Product *FAQ*

<!-- TOC -->

## Where is `data`?

In object storage.

```python
# not a heading
```

### Deeper

Detail.

## Why?

Because.
"""


def test_markdown_is_cut_at_its_headings() -> None:
    chunks = split_text(FAQ, Path("docs/faq.md"))
    assert [chunk.metadata["heading"] for chunk in chunks] == [
        "Product FAQ > Where is data?",
        "Product FAQ > Where is data? > Deeper",
        "Product FAQ > Why?",
    ]
    assert chunks[0].text == "Where is data?\n\nIn object storage.\n\n```python\n# not a heading\n```"
    assert chunks[0].metadata == {
        "source": "docs/faq.md",
        "title": "Product FAQ",
        "heading": "Product FAQ > Where is data?",
    }
    assert "TOC" not in "".join(chunk.text for chunk in chunks)


def test_an_id_is_of_the_passage_and_outlives_edits_around_it() -> None:
    first = split_text("# A\n\none\n\n# B\n\ntwo", Path("a.md"))
    edited = split_text("# A\n\nmore than one\n\nline\n\n# B\n\ntwo", Path("a.md"))
    elsewhere = split_text("# A\n\none", Path("b.md"))
    assert first[1].id == edited[1].id
    assert len({first[0].id, edited[0].id, elsewhere[0].id}) == 3


def test_text_before_the_first_heading_is_kept() -> None:
    chunks = split_text("before\n\n# A\n\nafter", Path("a.md"))
    assert [(chunk.text, chunk.metadata["heading"]) for chunk in chunks] == [("before", ""), ("A\n\nafter", "A")]


def test_a_document_of_headings_only_is_not_lost() -> None:
    assert [chunk.text for chunk in split_text("# A\n## B", Path("a.md"))] == ["# A\n## B"]


def test_a_long_section_is_split_and_each_part_names_it() -> None:
    chunks = split_text("# Storage\n\n" + "A sentence of words. " * 100, Path("a.md"), chunk_size=300)
    assert len(chunks) > 5
    assert all(chunk.text.startswith("Storage\n\nA sentence") for chunk in chunks)
    assert all(len(chunk.text) <= 300 + len("Storage\n\n") for chunk in chunks)


def test_text_files_are_split_by_size_alone() -> None:
    chunks = split_text("# no heading\n\nwords", Path("a.txt"))
    assert [(chunk.text, chunk.metadata["heading"], chunk.metadata["title"]) for chunk in chunks] == [
        ("# no heading\n\nwords", "", "a")
    ]


@given(text=st.text(min_size=1, max_size=400).filter(str.strip), size=st.integers(1, 60))
def test_no_letter_of_a_text_file_is_lost(text: str, size: int) -> None:
    parts = [chunk.text for chunk in split_text(text, Path("a.txt"), chunk_size=size)]
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(len(part) <= size for part in parts)


def test_folders_are_walked_in_order_and_hidden_files_left_out(tmp_path: Path) -> None:
    for name in ("b.md", "a.txt", "sub/c.markdown", ".hidden/d.md", "e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    assert [Path(chunk.metadata["source"]).name for chunk in load_chunks([tmp_path])] == [
        "a.txt",
        "b.md",
        "c.markdown",
    ]


def test_a_byte_order_mark_and_windows_line_ends_disappear(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbf# A\r\n\r\nbody\r\n")
    assert [chunk.text for chunk in load_chunks([tmp_path])] == ["A\n\nbody"]


def test_another_encoding_is_named_and_can_be_given(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("Größe".encode("latin-1"))
    with pytest.raises(IngestError, match=r"a\.txt: is not utf-8 \(byte 2\): convert it, or give its encoding"):
        load_chunks([file])
    assert load_chunks([file], encoding="latin-1")[0].text == "Größe"
    with pytest.raises(ValueError, match="unknown encoding 'klingon'"):
        load_chunks([file], encoding="klingon")


def test_every_bad_file_is_named_before_anything_is_returned(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("text")
    (tmp_path / "empty.md").write_text(" \n")
    (tmp_path / "binary.md").write_bytes(b"PK\x03\x04\0\0")
    with pytest.raises(IngestError) as caught:
        load_chunks([tmp_path, tmp_path / "missing.md"])
    assert [line.split(": ", 1)[1].split(":")[0] for line in str(caught.value).split("\n")] == [
        "is binary, or text in UTF-16",
        "is empty",
        "no such file or folder",
    ]
    assert [chunk.text for chunk in load_chunks([tmp_path], on_error="skip")] == ["text"]


def test_utf_16_when_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text", encoding="utf-16")
    assert load_chunks([tmp_path], encoding="utf-16")[0].text == "text"


@pytest.mark.parametrize("paths", [[], None])
def test_nothing_to_index(tmp_path: Path, paths: list[Path] | None) -> None:
    with pytest.raises(IngestError, match=r"nothing to index|no .* file in this folder"):
        load_chunks([tmp_path] if paths is None else paths, on_error="skip")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.md"
    file.write_text("text")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    # chmod does not stop the superuser, who runs containers.
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(IngestError, match=r"cannot be read \(Permission denied\): check its permissions"):
        load_chunks([file])


def test_chunk_size_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="chunk_size=0 is out of range"):
        split_text("text", Path("a.md"), chunk_size=0)
