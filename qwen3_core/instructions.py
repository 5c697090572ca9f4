"""The instructions that Qwen3's retrieval models were evaluated with, by name.

A query carries one English sentence that says what it is for. The model card has it improve results by "1% to 5%", and
asks for English whatever the language of the texts. The sentences here are those of the authors' own evaluation, letter
by letter, with their slips: `evaluation/task_prompts.json` of QwenLM/Qwen3-Embedding, which `evaluation/run_mteb.sh`
names as `instruction_dict_path`. The comment behind each is its key there. Classification has no sentence of its own
there: each task names its classes, so say yours in the same form.
"""

from collections.abc import Mapping
from types import MappingProxyType

from qwen3_core.prompts import DEFAULT_INSTRUCTION

WEB_SEARCH = DEFAULT_INSTRUCTION  # "MSMARCO", and the model card's own
QUESTION = "Given a question, retrieve passages that answer the question"  # "XPQARetrieval"
CROSS_LINGUAL = "Retrieval the relevant passage for the given query"  # "MLQARetrieval", "BelebeleRetrieval"
CHINESE_SEARCH = "Given a Chinese search query, retrieve web passages that answer the question"  # "T2Retrieval"
CODE = "Given a question about coding, retrieval code or passage that can solve user's question"  # "CosQA"
CODE_COMMENT = (
    "Given a code comment, retrieve the code snippet corresponding to that comment."  # "CodeSearchNetCCRetrieval"
)
SIMILAR_CODE = "Given a piece for code, retrieval semantically similar code"  # "CodeTransOceanContest"
# "SyntheticText2SQL"
SQL = "Given a user's question, retrieve SQL queries that are appropriate responses to the question"
FACT_CHECK = "Given a claim, retrieve documents that support or refute the claim"  # "FEVER"
DUPLICATES = (
    "Given a question, retrieve questions that are semantically equivalent to the given question"  # "QuoraRetrieval"
)
# All of STS and pair classification, in `evaluation/qwen3_embedding_model.py`, `get_instruction`.
SIMILARITY = "Retrieve semantically similar text"
TRANSLATION = "Retrieve parallel sentences"  # "Tatoeba" and all of bitext mining
INTENT = "Given a user utterance as query, find the user intents"  # "MassiveIntentClassification"
SENTIMENT = "Classify sentiment of the customer review into positive, neutral, or negative"  # "MultilingualSentiment"
TOPIC = "Identify the topic or theme of the given news articles"  # "TwentyNewsgroupsClustering"

INSTRUCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "web-search": WEB_SEARCH,
        "question": QUESTION,
        "cross-lingual": CROSS_LINGUAL,
        "chinese-search": CHINESE_SEARCH,
        "code": CODE,
        "code-comment": CODE_COMMENT,
        "similar-code": SIMILAR_CODE,
        "sql": SQL,
        "fact-check": FACT_CHECK,
        "duplicates": DUPLICATES,
        "similarity": SIMILARITY,
        "translation": TRANSLATION,
        "classify-intent": INTENT,
        "classify-sentiment": SENTIMENT,
        "topic": TOPIC,
    }
)
"""The names that `qwen3-rag evaluate --instruction` takes."""


def find_instruction(name_or_text: str) -> str:
    """Return the instruction of a name, or the text itself if it is a sentence.

    Raises:
        ValueError: It is one word, or nothing, and no name.
    """
    text = name_or_text.strip()
    if text in INSTRUCTIONS:
        return INSTRUCTIONS[text]
    if len(text.split()) < 2:  # a slip in a name must not become an instruction
        msg = f"{name_or_text!r} is no instruction: write a sentence, or one of {', '.join(INSTRUCTIONS)}"
        raise ValueError(msg)
    return text
