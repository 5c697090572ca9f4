"""What DashScope's models take, and what it says where it refuses; sources are in `scripted_retrieval.dashscope`."""

from dataclasses import dataclass

from scripted_retrieval.templates import INSTRUCT

ALGO = "<400> InternalError.Algo.InvalidParameter: "
TOO_MANY = ALGO + "Value error, batch size is invalid, it should not be larger than {most}.: {field}"
# For text-embedding-v4 it is a guess from what chat and an older embedding model say.
BAD_LENGTH = ALGO + "Range of input length should be [1, {most}]"
MISSING = "Required parameter(s) missing or invalid, please check the request parameters."
# What it says to these is not known; the tests may rely on the status alone.
BAD_DIMENSION = ALGO + "Value error, dimension is invalid, it should be in [{known}]"
UNVERIFIED_FORMAT = "Value error, encoding_format is invalid, only float is supported"
UNVERIFIED_DOCUMENTS = ALGO + "Value error, documents should be texts that are not empty: input.documents"
UNVERIFIED_BUDGET = ALGO + "Value error, {given} tokens are too many, it should not be larger than {most}: input"
UNVERIFIED_INSPECTION = "Input data may contain inappropriate content."

DEFAULT_DIMENSION = 1024
RERANK_INSTRUCT = INSTRUCT + "."
"""The server's own default ends with a full stop, the open weights' does not (fact sheet §4)."""


@dataclass(frozen=True)
class EmbeddingModel:
    """The limits of a model.

    Attributes:
        rows: The most texts in one request.
        tokens: The most tokens in one text.
        dimensions: The lengths that its vectors can have.
    """

    rows: int
    tokens: int
    dimensions: tuple[int, ...]


EMBEDDING_MODELS = {
    "text-embedding-v4": EmbeddingModel(10, 8192, (2048, 1536, 1024, 768, 512, 256, 128, 64)),
    "text-embedding-v3": EmbeddingModel(10, 8192, (1024, 768, 512, 256, 128, 64)),
    "qwen3.7-text-embedding": EmbeddingModel(20, 128_000, (2560, 2048, 1536, 1024, 768, 512, 256)),
    "qwen3.7-text-embedding-flash": EmbeddingModel(20, 128_000, (1024, 768, 512, 256)),
}
