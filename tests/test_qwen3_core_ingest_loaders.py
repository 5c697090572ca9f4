"""Every kind of file as sections of text, and the sizes of what they are cut into."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_core import LocalEmbedder
from qwen3_core.ingest import Chunk, IngestError
from qwen3_core.ingest.loaders import LANGUAGES, grammar, load_document
from qwen3_core.ingest.splitting import Splitting, splitting_for

HTML = """<?xml version="1.0"?>
<html><head><title>The guide</title><style>p { color: red }</style></head>
<body><nav><a href="/">Home</a></nav>
<h1>Storage <em>and</em> logs</h1>
<p>Vectors lie in <a href="http://x.example/long?q=1">object_storage</a>, 2 * 3 copies.
<p>A second paragraph.<script>alert("no")</script>
<h2>Code</h2><pre><code>def f():
    return 1
</code></pre>
<ul><li>one<li>two</ul>
<img alt="a picture" src="data:image/png;base64,AAAAAAAA">
<h3># not two marks</h3><table><tr><th>k<th>v<tr><td>1<td>2</table></body></html>
"""

PYTHON = '''"""What the module does."""

import os


class Store:
    """A store."""

    def get(self, key):
        return os.environ[key]

    def put(self, key, value):
        os.environ[key] = value


def main():
    print(Store().get("HOME"))
'''


def cut(data: bytes | str, name: str, splitting: Splitting | None = None, **options: Any) -> list[Chunk]:
    path = Path("docs", name)
    whole = data.encode() if isinstance(data, str) else data
    return (splitting or Splitting()).cut(load_document(whole, path, **options), path)


def pdf(*pages: str, title: str = "", password: str = "", outline: dict[str, int] | None = None) -> bytes:
    """Build a PDF with a line of text on each page."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    fonts = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})})
    for text in pages:
        page = writer.add_blank_page(300, 300)
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
        page[NameObject("/Resources")] = fonts
    if title:
        writer.add_metadata({"/Title": title})
    parent = None
    for name, number in (outline or {}).items():
        parent = writer.add_outline_item(title=name, page_number=number, parent=parent)
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def test_html_is_cut_at_its_headings() -> None:
    chunks = cut(HTML, "guide.html")
    assert [chunk.metadata["heading"] for chunk in chunks] == [
        "Storage and logs",
        "Storage and logs > Code",
        "Storage and logs > Code > # not two marks",
    ]
    assert {chunk.metadata["title"] for chunk in chunks} == {"The guide"}
    assert chunks[0].text == ("Storage and logs\n\nVectors lie in object_storage, 2 * 3 copies.\n\nA second paragraph.")
    assert "```\ndef f():\n    return 1\n```" in chunks[1].text
    assert "* one\n* two" in chunks[1].text
    assert "a picture" in chunks[1].text
    assert "| k | v |\n| --- | --- |\n| 1 | 2 |" in chunks[2].text


@pytest.mark.parametrize("text", ["", "  \n", "<html><body><nav>menu</nav></body></html>", "<!DOCTYPE html>"])
def test_html_without_text_has_no_chunks(text: str) -> None:
    assert cut(text, "a.html") == []


def test_html_that_is_no_html() -> None:
    assert [chunk.text for chunk in cut("docs/file.html", "a.htm")] == ["docs/file.html"]


def test_html_says_its_encoding_itself() -> None:
    page = '<meta charset="iso-8859-1"><p>Größe'
    assert [chunk.text for chunk in cut(page.encode("latin-1"), "a.html")] == ["Größe"]


def test_paragraphs_that_are_never_closed_do_not_nest() -> None:
    page = "<p>word\n" * 5000
    assert sum(chunk.text.count("word") for chunk in cut(page, "a.html")) == 5000


def test_a_pdf_has_pages_a_title_and_its_bookmarks_as_headings() -> None:
    data = pdf("First page.", "Second page.", "", "Last.", title="A manual", outline={"Storage": 1, "Logs": 2})
    assert [chunk.metadata | {"text": chunk.text} for chunk in cut(data, "a.pdf")] == [
        {"source": "docs/a.pdf", "title": "A manual", "heading": "", "page": 1, "text": "First page."},
        {
            "source": "docs/a.pdf",
            "title": "A manual",
            "heading": "Storage",
            "page": 2,
            "text": "Storage\n\nSecond page.",
        },
        {"source": "docs/a.pdf", "title": "A manual", "heading": "Storage > Logs", "page": 4, "text": "Logs\n\nLast."},
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pdf(""), "has no text on its 1 pages: if it is a scan, run it through OCR first"),
        (pdf("text", password="secret"), "is encrypted: save it without a password"),
        (b"%PDF-1.4\n%%EOF", "is no PDF that can be read"),
        (b"\xff" * 100, "is no PDF that can be read"),
    ],
)
def test_a_pdf_that_cannot_be_read_says_why(data: bytes, message: str) -> None:
    with pytest.raises(IngestError, match=message):
        cut(data, "a.pdf")


def test_source_code_is_cut_between_its_parts() -> None:
    chunks = cut(PYTHON, "store.py", Splitting(170))
    assert [chunk.text.split("\n")[0] for chunk in chunks] == [
        '"""What the module does."""',
        "class Store:",
        "def main():",
    ]
    assert chunks[1].text.endswith("os.environ[key] = value"), "a class that fits stays whole"
    assert chunks[0].metadata == {
        "source": "docs/store.py",
        "title": "store.py",
        "heading": "",
        "language": "python",
    }


@pytest.mark.parametrize("language", sorted(set(LANGUAGES.values())))
def test_every_language_has_its_grammar(language: str) -> None:
    suffix = next(suffix for suffix, name in LANGUAGES.items() if name == language)
    assert grammar(language) is not None
    assert [chunk.metadata["language"] for chunk in cut("x = 1;\n", f"a{suffix}")] == [language]


@pytest.mark.parametrize(
    ("name", "module"), [("a.html", "markdownify"), ("a.pdf", "pypdf"), ("a.rs", "tree_sitter_rust")]
)
def test_what_is_not_installed_is_named(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if
    with pytest.raises(ImportError, match=rf'needs {module}: pip install "qwen3-rag\[documents\]"'):
        cut("<p>text", name)


def test_tokens_of_a_chunk_are_the_models_own() -> None:
    embedder = LocalEmbedder("mini")
    text = "# Storage\n\n" + "Vectors and logs are kept in object storage, 42 copies of each. " * 60
    for name in ("a.md", "a.txt", "a.py"):
        chunks = cut(text, name, splitting_for(embedder, chunk_tokens=50))
        bodies = [chunk.text.removeprefix("Storage\n\n") if name == "a.md" else chunk.text for chunk in chunks]
        lengths = [len(embedder.tokenize(body)) for body in bodies]
        assert max(lengths) <= 50
        assert sorted(lengths)[len(lengths) // 2] > 30, "filled"
    default = splitting_for(embedder)
    assert (default.size, splitting_for(object()).size, splitting_for(embedder, chunk_size=9).size) == (256, 1000, 9)


def test_sizes_that_cannot_be() -> None:
    embedder = LocalEmbedder("mini")
    with pytest.raises(ValueError, match="chunk_tokens or chunk_size, not both"):
        splitting_for(embedder, chunk_tokens=1, chunk_size=1)
    with pytest.raises(ValueError, match="chunk_tokens=0 is out of range"):
        splitting_for(embedder, chunk_tokens=0)
    with pytest.raises(ValueError, match=r"chunk_tokens needs the embedding.s tokenizer"):
        splitting_for(object(), chunk_tokens=10)


def test_the_fingerprint_tells_cuts_apart() -> None:
    embedder, other = LocalEmbedder("mini"), LocalEmbedder("mini", revision="other")
    prints = [
        splitting_for(embedder).fingerprint,
        splitting_for(other).fingerprint,
        splitting_for(embedder, chunk_tokens=255).fingerprint,
        splitting_for(embedder, chunk_size=256).fingerprint,
    ]
    assert len(set(prints)) == 4


@given(data=st.binary(max_size=200), name=st.sampled_from(["a.md", "a.txt", "a.html", "a.pdf", "a.py", "a"]))
def test_any_bytes_are_read_or_refused(data: bytes, name: str) -> None:
    try:
        chunks = cut(data, name)
    except IngestError:
        return
    assert all(chunk.text.strip() for chunk in chunks)
