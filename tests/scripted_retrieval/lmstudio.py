"""LM Studio.

Sources: LearningCircuit/local-deep-research#4195 (texts alone), n8n-io/n8n#16647 (floats whatever was asked),
cheshire-cat-ai/core#1014 (an answer, with counts of 0), lmstudio-ai/lmstudio-bug-tracker#618 and CherryHQ/cherry-studio
#8547 (a path that is not there, ``/v1/rerank`` among them, gets a 200 with an error); lmstudio.ai/docs (its models).
That ``dimensions`` is ignored and long texts are cut is not verified.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from scripted_retrieval import model
from scripted_retrieval.answers import Answered, Refusal, Route, is_texts, route
from scripted_retrieval.base import ScriptedRetrieval
from scripted_retrieval.openai_shapes import cards, vector_list

BAD_INPUT = "'input' field must be a string or an array of strings"
NO_INPUT = "'input' field is required"
NO_ROUTE = "Unexpected endpoint or method. ({method} {path})"


@dataclass
class LmStudio(ScriptedRetrieval):
    """Embeds texts to floats of full length; answers 200 to anything."""

    server: ClassVar[str] = "lmstudio"
    url: ClassVar[str] = "http://lmstudio.test:1234/v1"
    software: ClassVar[str] = ""
    default_model: ClassVar[str] = "text-embedding-qwen3-embedding-0.6b"

    def routes(self) -> dict[str, Route]:
        """Post to one path."""
        return {"/v1/embeddings": route(self._embed, "model input")}

    def pages(self) -> dict[str, Any]:
        """Serve its own model list beside OpenAI's."""
        names = self.models or (self.default_model,)
        more = {"type": "embeddings", "state": "loaded", "max_context_length": self.max_tokens}
        own = [{"id": name, "object": "model", "publisher": "Qwen", "arch": "qwen3", **more} for name in names]
        listed = cards(names, "organization_owner")
        return {"/v1/models": listed, "/api/v0/models": {"object": "list", "data": own}}

    def error(self, refusal: Refusal, path: str) -> Any:
        """Return its error, which is a string."""
        return {"error": refusal.message}

    def no_route(self, method: str, path: str) -> Refusal:
        """Return an error with status 200."""
        return Refusal(NO_ROUTE.format(method=method, path=path), 200)

    def _embed(self, body: dict[str, Any]) -> Answered:
        if "input" not in body:
            raise Refusal(NO_INPUT)
        given = body["input"]
        texts = [given] if isinstance(given, str) else given
        if not is_texts(texts):
            raise Refusal(BAD_INPUT)
        read = [model.head(text, self.max_tokens - 1) for text in texts]
        counts = {"prompt_tokens": 0, "total_tokens": 0}
        return Answered(self.vectors(texts, read), vector_list(str(body.get("model")), read, usage=counts))
