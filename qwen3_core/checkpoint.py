"""Find a Qwen3 checkpoint, load it, and say clearly what is wrong where that fails.

The one place that reaches the network: a hub name is turned into a local folder first, and everything after
that reads the folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from qwen3_core.base import DType

Kind = Literal["embedding", "reranker"]

MINI = "mini"
_MINI_FOLDER = Path(__file__).parent / "mini"
# Weights as safetensors only: the pickled `.bin` files of other repositories are never fetched or opened.
_PATTERNS = ["*.json", "*.txt", "*.jinja", "*.safetensors"]
# Seconds to connect, and again to wait for an answer; a machine without a hub must learn that within 10.
_HUB_TIMEOUT = 4.0


def resolve(model: str, kind: Kind, *, revision: str | None = None, cache_folder: str | None = None) -> Path:
    """Return the local folder of a checkpoint, downloading it if it is a hub name.

    Args:
        model: "mini", a folder, or a hub name such as ``Qwen/Qwen3-Embedding-0.6B``.
        kind: Which of the two mini checkpoints "mini" means.
        revision: Branch, tag or commit on the hub.
        cache_folder: Where downloads are kept; None is the hub library's own cache.

    Raises:
        FileNotFoundError: If `model` looks like a path and is no folder.
        OSError: If the hub cannot be reached, or has no such model, and the cache has none either.
    """
    if model == MINI:
        return _MINI_FOLDER / kind
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if model.startswith((".", "/", "~", "\\")) or model.count("/") != 1:
        msg = f"model={model!r} is neither a folder, nor a hub name such as 'Qwen/Qwen3-Embedding-0.6B', nor 'mini'"
        raise FileNotFoundError(msg)
    return _download(model, revision, cache_folder)


def _download(model: str, revision: str | None, cache_folder: str | None) -> Path:
    """Fetch a hub model, or find it in the cache if the hub does not answer."""
    commit: str | None = None
    unreachable: Exception | None = None
    try:
        # Asked first and by itself: it alone of the hub client's requests can be given a timeout.
        commit = HfApi().model_info(model, revision=revision, timeout=_HUB_TIMEOUT).sha
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        at = f" at revision {revision!r}" if revision else ""
        msg = f"the hub has no {model!r}{at} that this account may read: check the name, the revision and HF_TOKEN"
        raise OSError(msg) from error
    except Exception as error:  # noqa: BLE001 - of whichever HTTP library the hub client is built on
        unreachable = error
    try:
        found = snapshot_download(
            model,
            revision=commit or revision,
            cache_dir=cache_folder,
            allow_patterns=_PATTERNS,
            local_files_only=unreachable is not None,
        )
    except LocalEntryNotFoundError as error:
        msg = (
            f"cannot reach the hub to fetch {model!r}, and it is not in the cache. Pass the path of a folder "
            'that holds the checkpoint, or model="mini", which ships with this package and is for trying only'
        )
        raise OSError(msg) from unreachable or error
    return Path(found)


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a checkpoint.

    Raises:
        ValueError: If the folder has no usable tokenizer.
    """
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        msg = f"{folder} has no tokenizer that can be read: it needs tokenizer.json and tokenizer_config.json"
        raise ValueError(msg) from error


def load_model(folder: Path, kind: Kind, *, device: str | None = None, dtype: DType = "auto") -> Any:
    """Load the weights of a Qwen3 checkpoint, ready for inference.

    Args:
        folder: A local folder with ``config.json`` and safetensors files.
        kind: "embedding" loads the bare ``Qwen3Model``, "reranker" a ``Qwen3ForCausalLM``.
        device: A torch device; None takes CUDA, then MPS, then the CPU.
        dtype: "auto" is bfloat16 where the hardware computes in it and float32 elsewhere, and float32 for "mini",
            whose scores it moves by up to 0.4, with transformers as well (benchmarks/precision.md).
            Never float16, with which Qwen3-Embedding-8B gives NaN (QwenLM/Qwen3-Embedding#164).

    Raises:
        FileNotFoundError: If the folder has no weights.
        ValueError: If the architecture is not Qwen3, or weights of the model are missing.
    """
    require_qwen3(folder)
    target = torch.device(device or default_device())
    if dtype == "auto" and folder.parent == _MINI_FOLDER:
        dtype = "float32"
    auto: Any = AutoModel if kind == "embedding" else AutoModelForCausalLM
    model, info = auto.from_pretrained(
        folder,
        dtype=torch_dtype(dtype, target),
        trust_remote_code=False,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    # transformers fills what it does not find with random numbers and only warns.
    if info["missing_keys"]:
        names = ", ".join(sorted(info["missing_keys"])[:3])
        msg = f"{folder} lacks weights of the model ({names}, ...): it is incomplete or of another kind"
        raise ValueError(msg)
    return model.to(target).eval()


def require_qwen3(folder: Path) -> dict[str, Any]:
    """Return ``config.json`` of a folder that holds a Qwen3 checkpoint with weights, or raise."""
    path = folder / "config.json"
    if not path.is_file():
        msg = f"{folder} has no config.json: it is not a model folder"
        raise FileNotFoundError(msg)
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if config.get("model_type") != "qwen3":
        msg = (
            f"{folder} holds a {config.get('model_type')!r} model, and this engine runs only Qwen3 "
            "(Qwen3-Embedding-*, Qwen3-Reranker-* and checkpoints fine-tuned from them)"
        )
        raise ValueError(msg)
    if config.get("use_sliding_window"):
        msg = f"{folder} uses sliding-window attention, which no Qwen3 retrieval model has and this engine lacks"
        raise ValueError(msg)
    if config.get("attention_bias"):
        msg = f"{folder} has biases in its attention, which no Qwen3 retrieval model has and this engine lacks"
        raise ValueError(msg)
    if not any(folder.glob("*.safetensors")):
        msg = f"{folder} has no weights: it needs model.safetensors, or its shards and their index"
        raise FileNotFoundError(msg)
    return config


def default_device() -> str:
    """Return the fastest device torch can use here: "cuda", "mps" or "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def torch_dtype(dtype: DType, device: torch.device) -> torch.dtype:
    """Return the torch dtype for a name; "auto" depends on what the device computes in hardware."""
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
    if device.type == "cuda":
        # Emulated bfloat16 (before Ampere) is slower than float32.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and _cpu_has_bfloat16()
    return torch.bfloat16 if native else torch.float32


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware (AVX512-BF16, which every AMX machine has)."""
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # private; absent means we do not know
    return bool(probe and probe())
