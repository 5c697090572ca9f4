"""The forward pass: fast paths against transformers' own, with any lengths, orders and neighbours."""

from __future__ import annotations

import functools
import itertools
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity, silu

from qwen3_core import LocalEmbedder, LocalReranker, checkpoint
from qwen3_core.engine import Network, attention, batches, in_order, linear_kind, windows
from qwen3_core.engine.batches import WINDOW
from qwen3_core.engine.linear import Int8Linear, Linear, PackedLinear

KINDS = [Linear, PackedLinear, Int8Linear]
LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=6)
VOCABULARY = 1000


def ids(length: int, seed: int) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(VOCABULARY) for _ in range(length)]


@pytest.fixture(scope="module")
def plain(embedding_folder: Path) -> Any:
    """transformers' own model, in float32."""
    return checkpoint.load_model(embedding_folder, "embedding", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def network(embedding_folder: Path) -> Network:
    return make(embedding_folder, PackedLinear)


def make(folder: Path, kind: type[Linear], dtype: Any = "float32") -> Network:
    return Network(checkpoint.load_model(folder, "embedding", device="cpu", dtype=dtype), kind)


@torch.no_grad()
def by_transformers(model: Any, sequences: list[list[int]]) -> torch.Tensor:
    return torch.stack([model(torch.tensor([each])).last_hidden_state[0, -1] for each in sequences])


# -- products -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_products_are_the_exact_ones_up_to_their_rounding(kind: type[Linear], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight, scale = torch.randn(7, 64).to(dtype), torch.randn(32, 64).to(dtype) / 8, torch.rand(7, 1)
    other = torch.randn(7, 32).to(kind.residual_dtype(dtype))
    exact = (x.float() * scale) @ weight.float().T
    exactly = kind is not Int8Linear and dtype is torch.float32
    close = functools.partial(torch.testing.assert_close, atol=1e-5 if exactly else 0.05, rtol=0.02)
    made = kind(weight)
    with torch.inference_mode():
        scaled = kind.scaled(x, scale)
        close(made(scaled).float(), exact)
        close(made.silu(scaled).float(), silu(exact))
        close(kind(torch.eye(32, dtype=dtype))(made.times(scaled, other)).float(), exact * other.float())
        close(made.plus(scaled, other).float(), exact + other.float())


def test_rows_of_very_different_size_keep_their_own_scale_in_8_bits() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 64) * torch.tensor([[1e-4], [1.0], [1e4]])
    x = torch.cat([x, torch.zeros(1, 64)])
    weight = torch.randn(16, 64)
    with torch.inference_mode():
        found, exact = Int8Linear(weight)(Int8Linear.scaled(x)), x @ weight.T
    assert cosine_similarity(found[:3], exact[:3]).min() > 0.999
    assert not found[3].any()


def test_the_fast_products_are_taken_where_they_work() -> None:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        pytest.skip("torch has no oneDNN here")
    assert linear_kind(torch.device("cpu"), torch.float32) is PackedLinear
    if checkpoint.torch_dtype("auto", torch.device("cpu")) is torch.bfloat16:
        assert linear_kind(torch.device("cpu"), torch.bfloat16) is PackedLinear


def test_quantization_is_refused_where_it_cannot_be() -> None:
    with pytest.raises(ValueError, match="'int4' is unknown"):
        linear_kind(torch.device("cpu"), torch.float32, "int4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="it is for CPUs, and this is cuda"):
        linear_kind(torch.device("cuda"), torch.bfloat16, "int8")
    assert linear_kind(torch.device("cuda"), torch.bfloat16) is Linear
    assert linear_kind(torch.device("cpu"), torch.float16) is Linear


# -- the network ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Linear, PackedLinear])
def test_float32_equals_transformers(kind: type[Linear], embedding_folder: Path, plain: Any) -> None:
    sequences = [ids(length, length) for length in (1, 2, 127, 128, 129, 300, 80, 83, 1, 700)]
    found = make(embedding_folder, kind).last_hidden_states(sequences)
    torch.testing.assert_close(found, by_transformers(plain, sequences), atol=1e-4, rtol=1e-4)


@settings(max_examples=25)
@given(lengths=LENGTHS, parts=st.lists(st.integers(1, 150), max_size=3), seed=st.integers(0, 9))
def test_any_lengths_in_any_order_equal_transformers(
    lengths: list[int], parts: list[int], seed: int, network: Network, plain: Any
) -> None:
    before = [ids(part, seed + 100 + number) for number, part in enumerate(parts)]
    prefix = functools.reduce(lambda known, part: network.prefix(part, known), before, None)
    sequences = [ids(length, seed + number) for number, length in enumerate(lengths)]
    found = network.last_hidden_states(sequences, prefix)
    head = list(itertools.chain(*before))
    expected = by_transformers(plain, [head + sequence for sequence in sequences])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [PackedLinear, Int8Linear])
@settings(max_examples=10)
@given(lengths=LENGTHS)
def test_neighbours_change_next_to_nothing(kind: type[Linear], lengths: list[int], half: dict[Any, Network]) -> None:
    network = half[kind]
    sequences = [ids(length, number) for number, length in enumerate(lengths)]
    together = network.last_hidden_states(sequences)
    alone = torch.cat([network.last_hidden_states([sequence]) for sequence in sequences])
    assert cosine_similarity(together, alone).min() > 0.999


@pytest.fixture(scope="module")
def half(embedding_folder: Path) -> dict[Any, Network]:
    return {kind: make(embedding_folder, kind, "bfloat16") for kind in (PackedLinear, Int8Linear)}


@pytest.mark.parametrize("known", [5, 8, 300])
def test_the_kernel_of_other_devices_attends_as_the_blocks_do(known: int) -> None:
    torch.manual_seed(0)
    queries, keys, values = (torch.randn(2, heads, count, 16) for count, heads in ((5, 4), (known, 2), (known, 2)))
    prefix = known - 5
    fused, by_blocks = (attend(queries, keys, values, prefix) for attend in (attention._fused, attention._blocks))
    torch.testing.assert_close(fused, by_blocks)


def test_a_prefix_serves_several_queries_and_is_not_changed(network: Network, plain: Any) -> None:
    first, second = network.prefix(ids(50, 1)), network.prefix(ids(70, 2))
    kept = [(keys.clone(), values.clone()) for keys, values in first.layers]
    for prefix, head in ((first, ids(50, 1)), (second, ids(70, 2)), (first, ids(50, 1))):
        found = network.last_hidden_states([ids(9, 3), ids(200, 4)], prefix)
        expected = by_transformers(plain, [head + ids(9, 3), head + ids(200, 4)])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    for (keys, values), (old_keys, old_values) in zip(first.layers, kept, strict=True):
        assert torch.equal(keys, old_keys)
        assert torch.equal(values, old_values)


def test_what_calls_begin_with_is_computed_once(network: Network, plain: Any) -> None:
    opening, texts = ids(20, 1), [ids(9, 2), ids(30, 3)]
    prefix, rest = network.behind(opening, [opening + text for text in texts])
    assert prefix is not None
    assert rest == texts
    assert network.behind(opening, [opening + ids(5, 4)])[0] is prefix
    found = network.last_hidden_states(rest, prefix)
    torch.testing.assert_close(found, by_transformers(plain, [opening + text for text in texts]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "sequences", [[ids(20, 1)], [ids(19, 1)], [ids(30, 2)], [[*ids(20, 1), 5], ids(30, 2)], [[5, *ids(20, 1)]]]
)
def test_what_does_not_continue_an_opening_is_left_whole(network: Network, sequences: list[list[int]]) -> None:
    assert network.behind(ids(20, 1), sequences) == (None, sequences)


def test_an_opening_that_is_long_or_empty_is_not_kept(network: Network) -> None:
    for opening in ([], ids(257, 1)):
        sequences = [[*opening, 1, 2]]
        assert network.behind(opening, sequences) == (None, sequences)


def test_no_multiplication_more_than_the_task_needs(embedding_folder: Path, plain: Any) -> None:
    """Every weight meets every token once, and in the last layer those behind the keys meet the last tokens only."""
    done = 0

    class Counting(Linear):
        def __call__(self, x: Any) -> torch.Tensor:
            nonlocal done
            done += len(x) * self.weight.numel()
            return super().__call__(x)

    lengths = [5, 40, 41, 90]
    sizes = [
        sum(parameter.numel() for parameter in layer.parameters() if parameter.dim() == 2) for layer in plain.layers
    ]
    block = plain.layers[-1].self_attn
    on_all = sum(projection.weight.numel() for projection in (block.q_proj, block.k_proj, block.v_proj))
    make(embedding_folder, Counting).last_hidden_states([ids(length, length) for length in lengths])
    needed = sum(lengths) * (sum(sizes[:-1]) + on_all) + len(lengths) * (sizes[-1] - on_all)
    assert done == needed


# -- precision, on the checkpoints of the package -------------------------------------------------------------

TEXTS = [
    "Milvus stores inserted data as incremental logs in object storage.", "你好，世界", "def add(a, b): return a", "",
    "A collection is like a table in a relational database. " * 20, "HNSW", "Where is data kept?",
]  # fmt: skip


@pytest.mark.parametrize(("options", "least"), [({"dtype": "bfloat16"}, 0.999), ({"quantization": "int8"}, 0.995)])
def test_vectors_of_other_number_formats_stay_close(options: dict[str, Any], least: float) -> None:
    exact = torch.tensor(LocalEmbedder("mini", dtype="float32", device="cpu").embed_documents(TEXTS))
    found = torch.tensor(LocalEmbedder("mini", device="cpu", **options).embed_documents(TEXTS))
    assert cosine_similarity(exact, found).min() >= least


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"quantization": "int8"}])
def test_scores_of_other_number_formats_stay_close(options: dict[str, Any]) -> None:
    """No farther than those of transformers' own bfloat16, which are up to 0.2 away on this checkpoint."""
    query = "How is data stored in Milvus?"
    exact = LocalReranker("mini", dtype="float32", device="cpu").score(query, TEXTS)
    assert LocalReranker("mini", device="cpu", **options).score(query, TEXTS) == pytest.approx(exact, abs=0.15)


# -- batches --------------------------------------------------------------------------------------------------


@given(lengths=st.lists(st.integers(1, 50)), budget=st.integers(1, 100))
def test_batches_hold_each_sequence_once_within_the_budget(lengths: list[int], budget: int) -> None:
    found = list(batches(lengths, budget))
    assert sorted(itertools.chain(*found)) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or sum(lengths[number] for number in batch) <= budget
    assert in_order([(batch, [str(number) for number in batch]) for batch in found], len(lengths)) == [
        str(number) for number in range(len(lengths))
    ]


@given(count=st.integers(0, 30), size=st.integers(1, 8))
def test_windows_hold_everything_in_order(count: int, size: int) -> None:
    assert list(itertools.chain(*windows(range(count), list, size))) == list(range(count))


def test_windows_are_prepared_one_ahead_and_leave_no_thread() -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    before = threading.active_count()
    found = windows(endless(), list, 10)
    assert next(found) == list(range(10))
    assert len(taken) <= 20
    found.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_fault_in_what_is_ahead_reaches_the_caller() -> None:
    def broken() -> Iterator[int]:
        yield from range(15)
        msg = "the disk is gone"
        raise OSError(msg)

    found = windows(broken(), list, 10)
    assert next(found) == list(range(10))
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)


def test_a_stream_of_texts_is_embedded_as_it_comes(embedding_folder: Path) -> None:
    embedder = LocalEmbedder(str(embedding_folder), dtype="float32", device="cpu")
    taken = 0

    def texts() -> Iterator[str]:
        nonlocal taken
        for number in range(3000):
            taken += 1
            yield f"text {number % 7}"

    found = embedder.embed_stream(texts())
    first = next(found)
    assert taken <= 2 * WINDOW
    rest = list(found)
    assert len(rest) == 2999
    expected = embedder.embed_documents([f"text {number}" for number in range(7)])
    assert first == pytest.approx(expected[0], abs=1e-5)
    assert rest[-1] == pytest.approx(expected[2999 % 7], abs=1e-5)


def test_a_stream_is_no_single_string(embedding_folder: Path) -> None:
    embedder = LocalEmbedder(str(embedding_folder))
    with pytest.raises(TypeError, match=r"pass \[text\]"):
        embedder.embed_stream("one text")
    with pytest.raises(TypeError, match="text 1 is int"):
        list(embedder.embed_stream(["a", 1]))  # type: ignore[list-item]
