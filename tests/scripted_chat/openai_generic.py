"""A strict OpenAI endpoint, such as Azure's: it refuses fields that OpenAI's reference does not have.

Sources: CherryHQ/cherry-studio#6160 (the error and its nulls), teabranch/open-responses-server#41 (the newer wording,
used here for fields of messages).
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from scripted_chat.base import ScriptedChat
from scripted_chat.model import Plan
from scripted_chat.rules import Refusal, names
from scripted_chat.transformers_serve import ACCEPTED as WITH_OWN

UNKNOWN_FIELD = "Unrecognized request argument supplied: {field}"
UNKNOWN_MESSAGE_FIELD = "Unknown parameter: 'messages[{place}].{field}'."

ACCEPTED = WITH_OWN - {"generation_config", "chat_template_kwargs"}
MESSAGE_FIELDS = names("role content name tool_calls tool_call_id refusal audio function_call")


@dataclass
class OpenAIGeneric(ScriptedChat):
    """Thinks unseen, if at all: there is no field in which reasoning could come back."""

    server: ClassVar[str] = "openai"
    url: ClassVar[str] = "http://127.0.0.1:9000/v1"
    reads: ClassVar[frozenset[str]] = ACCEPTED

    def judge(self, body: dict[str, Any]) -> Plan:
        """Refuse what OpenAI's reference does not have, in the body and in its messages."""
        for name in body:
            if name not in ACCEPTED:
                raise Refusal(UNKNOWN_FIELD.format(field=name))
        for place, message in enumerate(body["messages"]):
            for name in message:
                if name not in MESSAGE_FIELDS:
                    raise Refusal(
                        UNKNOWN_MESSAGE_FIELD.format(place=place, field=name),
                        param=f"messages[{place}].{name}",
                        code="unknown_parameter",
                    )
        return replace(self.plan(body, effort=body.get("reasoning_effort")), thinks=False)

    def usage(self, plan: Plan, prompt: int, thought: int, answered: int) -> dict[str, Any]:
        """Return counts with the reasoning among the details."""
        counts = super().usage(plan, prompt, thought, answered)
        return {**counts, "completion_tokens_details": {"reasoning_tokens": thought}}
