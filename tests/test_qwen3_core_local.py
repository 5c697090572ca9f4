"""The local engine against the official recipes, in float32 on checkpoints of Qwen3's architecture."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import reference
import torch
from hypothesis import given, settings
from test_qwen3_core_tokens import INJECTION, TEXTS

from qwen3_core import LocalEmbedder, LocalReranker, checkpoint
from qwen3_core.prompts import DEFAULT_INSTRUCTION, format_query

CHINESE = "Milvus 将插入的数据以增量日志的形式保存在对象存储中，元数据保存在 etcd 中。"
WORDS = "the index keeps vectors in sealed segments and answers a query . , 12 数据 ( ) don't \n"


def words(count: int, seed: int = 0) -> str:
    return " ".join(random.Random(seed).choices(WORDS.split(" "), k=count))


TEXT_LENGTHS = ["", "a", "Hello, world!", CHINESE, *(words(n, n) for n in (3, 17, 64, 200, 511))]


@pytest.fixture(scope="module")
def embedder(embedding_folder: Path) -> LocalEmbedder:
    return LocalEmbedder(str(embedding_folder), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def reranker(reranker_folder: Path) -> LocalReranker:
    return LocalReranker(str(reranker_folder), dtype="float32", device="cpu")


def cosines(first: Any, second: Any) -> list[float]:
    return torch.nn.functional.cosine_similarity(torch.tensor(first), torch.tensor(second)).tolist()


# Embedding


def test_documents_equal_the_official_recipe(embedder: LocalEmbedder, embedding_folder: Path) -> None:
    ours = embedder.embed_documents(TEXT_LENGTHS)
    assert min(cosines(ours, reference.embed(embedding_folder, TEXT_LENGTHS).tolist())) >= 0.99999
    apart = [cosines([ours[0]], [vector])[0] for vector in ours[1:]]
    assert max(apart) < 0.99, "random weights that tell nothing apart would prove nothing"


def test_a_query_carries_the_instruction(embedder: LocalEmbedder, embedding_folder: Path) -> None:
    expected = reference.embed(embedding_folder, [format_query("who?"), format_query("who?", "Find people")]).tolist()
    ours = [embedder.embed_query("who?"), embedder.embed_query("who?", instruction="Find people")]
    assert min(cosines(ours, expected)) >= 0.99999
    assert ours[0] != embedder.embed_documents(["who?"])[0]


def test_32k_characters(embedder: LocalEmbedder, embedding_folder: Path) -> None:
    text = words(9000)[:32_000]
    assert min(cosines(embedder.embed_documents([text]), reference.embed(embedding_folder, [text]).tolist())) >= 0.99999


def test_max_length_keeps_the_end_token(embedding_folder: Path) -> None:
    text = words(100)
    embedder = LocalEmbedder(str(embedding_folder), dtype="float32", max_length=16)
    expected = reference.embed(embedding_folder, [text], max_length=16).tolist()
    assert min(cosines(embedder.embed_documents([text]), expected)) >= 0.99999


def test_one_end_token_whatever_the_age_of_the_tokenizer(embedding_folder: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(embedding_folder, newer)
    state = json.loads((newer / "tokenizer.json").read_text())
    end = {"id": "<|endoftext|>", "ids": [151643], "tokens": ["<|endoftext|>"]}
    state["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|endoftext|>": end},
    }
    (newer / "tokenizer.json").write_text(json.dumps(state))
    texts = ["", "hi", words(20)]
    old, new = (
        LocalEmbedder(str(folder), dtype="float32").embed_documents(texts) for folder in (embedding_folder, newer)
    )
    assert old == new


def test_dimensions_slice_then_normalise(embedder: LocalEmbedder, embedding_folder: Path) -> None:
    full = torch.tensor(embedder.embed_documents(["text"])[0])
    short = LocalEmbedder(str(embedding_folder), dtype="float32", dimensions=32).embed_documents(["text"])[0]
    assert len(short) == 32
    assert torch.tensor(short).norm().item() == pytest.approx(1, abs=1e-6)
    assert short == pytest.approx((full[:32] / full[:32].norm()).tolist(), abs=1e-6)


@pytest.mark.parametrize("dimensions", [31, 0, -1])
def test_dimensions_below_the_range_are_refused_at_once(dimensions: int) -> None:
    with pytest.raises(ValueError, match=r"dimensions=.* at least 32"):
        LocalEmbedder(dimensions=dimensions)


def test_dimensions_above_the_hidden_size_name_the_range(embedding_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"dimensions=65 is out of range: .* has 32 to 64"):
        LocalEmbedder(str(embedding_folder), dimensions=65).embed_documents(["x"])


def test_the_batch_makes_no_difference(embedding_folder: Path, embedder: LocalEmbedder) -> None:
    one_by_one = LocalEmbedder(str(embedding_folder), dtype="float32", batch_tokens=1).embed_documents(TEXT_LENGTHS)
    assert min(cosines(embedder.embed_documents(TEXT_LENGTHS), one_by_one)) >= 0.999999


def test_equal_texts_have_equal_vectors_of_their_own(embedder: LocalEmbedder) -> None:
    first, other, second = embedder.embed_documents(["same", "other", "same"])
    assert first == second != other
    assert first is not second


def test_no_documents(embedder: LocalEmbedder, reranker: LocalReranker) -> None:
    assert embedder.embed_documents([]) == []
    assert reranker.score("query", []) == []


@settings(max_examples=40)
@given(text=TEXTS)
def test_ids_that_reach_the_embedder_hold_no_control_token_of_the_text(embedder: LocalEmbedder, text: str) -> None:
    with record_ids(embedder) as seen:
        embedder.embed_documents([text])
    assert seen[-1] == 151643
    assert max(seen[:-1], default=0) < 151643


@contextlib.contextmanager
def record_ids(model: LocalEmbedder | LocalReranker) -> Iterator[list[int]]:
    """Write down the ids that the real embedding layer is asked for, with nothing kept from earlier calls."""
    seen: list[int] = []
    network = model._loaded.get()[0]
    network._opening.cache_clear()
    layer = network._embed
    with layer.register_forward_pre_hook(lambda _, arguments: seen.extend(arguments[0].tolist())):
        yield seen


def test_progress_bar_only_when_asked(embedding_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    LocalEmbedder(str(embedding_folder)).embed_documents(["a", "b"])
    assert "embedding" not in capfd.readouterr().err
    LocalEmbedder(str(embedding_folder), show_progress=True).embed_documents(["a", "b"])
    assert "embedding: 100%" in capfd.readouterr().err


# Reranking


def test_scores_equal_the_official_recipe(reranker: LocalReranker, reranker_folder: Path) -> None:
    query = "Where is the data?"
    expected = reference.score(reranker_folder, query, TEXT_LENGTHS, DEFAULT_INSTRUCTION)
    assert reranker.score(query, TEXT_LENGTHS) == pytest.approx(expected, abs=1e-4)
    assert max(expected) - min(expected) > 0.1, "random weights that tell nothing apart would prove nothing"


def test_chinese_query_and_own_instruction(reranker: LocalReranker, reranker_folder: Path) -> None:
    task = "Given a question in Chinese, find the passage that answers it"
    expected = reference.score(reranker_folder, "数据存储在哪里？", [CHINESE, "no"], task)
    assert reranker.score("数据存储在哪里？", [CHINESE, "no"], instruction=task) == pytest.approx(expected, abs=1e-4)
    assert reranker.score("数据存储在哪里？", [CHINESE, "no"]) != pytest.approx(expected, abs=1e-4)


def test_rerank_32k_characters(reranker: LocalReranker, reranker_folder: Path) -> None:
    text = words(9000)[:32_000]
    expected = reference.score(reranker_folder, "q?", [text], DEFAULT_INSTRUCTION)
    assert reranker.score("q?", [text]) == pytest.approx(expected, abs=1e-4)


def test_a_long_document_loses_its_end_and_nothing_else(reranker_folder: Path) -> None:
    reranker = LocalReranker(str(reranker_folder), dtype="float32", max_length=128)
    documents = [words(400), "short"]
    expected = reference.score(reranker_folder, "q?", documents, DEFAULT_INSTRUCTION, max_length=128)
    assert reranker.score("q?", documents) == pytest.approx(expected, abs=1e-4)


def test_a_query_that_leaves_no_room_is_refused(reranker_folder: Path) -> None:
    reranker = LocalReranker(str(reranker_folder), max_length=64)
    with pytest.raises(ValueError, match="max_length=64: raise max_length or shorten the query"):
        reranker.score(words(100), ["document"])


def test_a_score_does_not_depend_on_its_neighbours(reranker: LocalReranker) -> None:
    alone = [reranker.score("where?", [text])[0] for text in TEXT_LENGTHS]
    shuffled = [*TEXT_LENGTHS[::-1], words(700, 9)]
    beside = reranker.score("where?", shuffled)
    assert beside[:-1][::-1] == pytest.approx(alone, abs=1e-4)


def test_equal_documents_have_equal_scores(reranker: LocalReranker) -> None:
    first, other, second = reranker.score("q", ["same", "other", "same"])
    assert first == second != other


def test_no_verdict_from_inside_a_document(reranker: LocalReranker) -> None:
    with record_ids(reranker) as seen:
        reranker.score(INJECTION, [INJECTION])
    control = [id_ for id_ in seen if id_ >= 151643]
    assert control == [151644, 151645, 151644, 151645, 151644, 151667, 151668], "the template's own, no more"


@settings(max_examples=40)
@given(query=TEXTS.filter(str.strip), document=TEXTS, instruction=TEXTS)
def test_ids_that_reach_the_reranker_hold_no_control_token_of_the_texts(
    reranker: LocalReranker, query: str, document: str, instruction: str
) -> None:
    with record_ids(reranker) as seen:
        reranker.score(query, [document], instruction=instruction)
    assert len([id_ for id_ in seen if id_ >= 151643]) == 7


def test_the_instruction_is_computed_once(embedder: LocalEmbedder, reranker: LocalReranker) -> None:
    with record_ids(embedder) as seen:
        embedder.embed_query("Where?")
        first = len(seen)
        vector = embedder.embed_query("And why?")
    assert len(seen) - first == len(embedder.tokenize(":And why?")) + 1
    assert vector == pytest.approx(embedder.embed_documents([format_query("And why?"), "no query"])[0], abs=1e-5)
    with record_ids(reranker) as seen:
        reranker.score("Where?", ["one"])
        reranker.score("And why?", ["one"])
    assert seen.count(151644) == 2 + 1 + 1, "two <|im_start|> before the query, one in each suffix"


def test_the_query_side_is_computed_once(reranker: LocalReranker) -> None:
    with record_ids(reranker) as seen:
        reranker.score("Where is the data?", ["one", "two", "three"])
    assert seen.count(151644) == 2 + 3, "two <|im_start|> in the shared prefix, one in each suffix"


# Loading


def test_bfloat16_stays_close(reranker_folder: Path, reranker: LocalReranker) -> None:
    half = LocalReranker(str(reranker_folder), dtype="bfloat16").score("q", TEXT_LENGTHS)
    assert half == pytest.approx(reranker.score("q", TEXT_LENGTHS), abs=0.15)


def test_auto_dtype_is_never_float16() -> None:
    from qwen3_core.checkpoint import torch_dtype

    assert torch_dtype("auto", torch.device("cpu")) in {torch.float32, torch.bfloat16}
    assert torch_dtype("auto", torch.device("mps")) is torch.float32
    assert torch_dtype("float16", torch.device("cpu")) is torch.float16


def test_many_threads_load_once_and_agree(embedding_folder: Path, embedder: LocalEmbedder) -> None:
    shared = LocalEmbedder(str(embedding_folder), dtype="float32")
    texts = [words(20, seed) for seed in range(8)]
    found: dict[int, list[float]] = {}

    def work(number: int) -> None:
        found[number] = shared.embed_documents([texts[number]])[0]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = embedder.embed_documents(texts)
    assert min(cosines([found[n] for n in range(len(texts))], expected)) >= 0.99999
    assert shared._loaded.get() is shared._loaded.get()


def test_pickled_without_weights_and_still_works(embedding_folder: Path) -> None:
    embedder = LocalEmbedder(str(embedding_folder), dtype="float32")
    vector = embedder.embed_query("q")
    data = pickle.dumps(embedder)
    assert len(data) < 2000
    assert pickle.loads(data).embed_query("q") == vector


async def test_async_equals_sync(embedder: LocalEmbedder, reranker: LocalReranker) -> None:
    assert await embedder.aembed_query("q") == embedder.embed_query("q")
    assert await embedder.aembed_documents(["a", "b"]) == embedder.embed_documents(["a", "b"])
    assert await reranker.ascore("q", ["a", "b"]) == reranker.score("q", ["a", "b"])


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_query_is_refused(embedder: LocalEmbedder, reranker: LocalReranker, query: str) -> None:
    with pytest.raises(ValueError, match="query is empty"):
        embedder.embed_query(query)
    with pytest.raises(ValueError, match="query is empty"):
        reranker.score(query, ["document"])


def test_texts_of_the_wrong_type_are_named(embedder: LocalEmbedder, reranker: LocalReranker) -> None:
    with pytest.raises(TypeError, match=r"pass \[text\]"):
        embedder.embed_documents("one text")
    with pytest.raises(TypeError, match="text 1 is NoneType"):
        reranker.score("q", ["a", None])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="a query is a string, not int"):
        embedder.embed_query(1)  # type: ignore[arg-type]


def test_a_folder_without_weights(embedding_folder: Path, tmp_path: Path) -> None:
    shutil.copy(embedding_folder / "config.json", tmp_path)
    with pytest.raises(FileNotFoundError, match="has no weights"):
        LocalEmbedder(str(tmp_path)).embed_query("q")


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        LocalEmbedder(str(tmp_path)).embed_query("q")


def test_a_folder_that_does_not_exist() -> None:
    with pytest.raises(FileNotFoundError, match="neither a folder, nor a hub name"):
        LocalEmbedder("./no/such/folder").embed_query("q")


def test_another_architecture(embedding_folder: Path, tmp_path: Path) -> None:
    config = json.loads((embedding_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(ValueError, match="'bert' model, and this engine runs only Qwen3"):
        LocalReranker(str(tmp_path)).score("q", ["d"])


def test_incomplete_weights(embedding_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "incomplete"
    shutil.copytree(embedding_folder, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights of the model \(layers.1.mlp.up_proj"):
        LocalEmbedder(str(folder)).embed_query("q")


def test_a_tokenizer_without_yes_and_no(reranker_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mute"
    shutil.copytree(reranker_folder, folder)
    text = (folder / "tokenizer.json").read_text()
    state = json.loads(text)
    state["model"]["vocab"]["maybe!"] = state["model"]["vocab"].pop("yes")
    state["model"]["merges"] = [
        pair for pair in state["model"]["merges"] if "".join(pair) != "yes" and "yes" not in pair
    ]
    (folder / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match="no token 'yes'"):
        LocalReranker(str(folder)).score("q", ["d"])


def test_an_unreachable_hub_is_waited_for_briefly_and_the_error_says_what_to_do(tmp_path: Path) -> None:
    # A host that accepts connections and never answers: the slowest kind of unreachable.
    with contextlib.ExitStack() as open_, socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0)
        program = (
            "from qwen3_core import LocalEmbedder\n"
            "try:\n"
            f"    LocalEmbedder(cache_folder={str(tmp_path)!r}).embed_query('q')\n"
            "except OSError as error:\n"
            "    print(error)\n"
        )
        hub = {"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", "HF_HUB_OFFLINE": "0"}
        run = subprocess.run(
            [sys.executable, "-c", program], env=os.environ | hub, capture_output=True, text=True, check=True
        )
        asked = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                open_.enter_context(silent.accept()[0])
                asked += 1
    assert 0 < asked * checkpoint._HUB_TIMEOUT < 10
    message = run.stdout.strip()
    assert "cannot reach the hub to fetch 'Qwen/Qwen3-Embedding-0.6B'" in message
    assert 'folder that holds the checkpoint, or model="mini"' in message
