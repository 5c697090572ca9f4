"""`ChatQwen3` against a real llama.cpp server."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_chat import Person, parted, reasoning_in, ways, whole

from langchain_qwen3.chat_models import ChatQwen3
from qwen3_cli.demo_server import smollm2_server

# The v3 event stream calls itself beta.
pytestmark = pytest.mark.filterwarnings("ignore:The (function|method) .* is in beta")

# The parts of Qwen3's chat template from which llama.cpp learns that a model thinks.
TEMPLATE = """
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == "assistant" and message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think>

</think>

{% endif %}
{%- endif %}"""

# The 135M model could not think, so its words are forced; splitting them is the server's own work.
THOUGHT, SAID = "Four legs,\nthree missing.", "One leg."
GRAMMAR = {"grammar": 'root ::= "<think>\\nFour legs,\\nthree missing.\\n</think>\\n\\nOne leg."'}


@pytest.fixture(scope="module")
def llama_cpp() -> Iterator[str]:
    with smollm2_server(chat_template=TEMPLATE, context_tokens=1024, threads=1) as url:
        yield url


# Split by the server, or left in the text.
@pytest.mark.parametrize(("server", "body"), [("llama.cpp", {}), ("auto", {"reasoning_format": "none"})])
async def test_it_thinks_in_every_way_to_ask(llama_cpp: str, server: Any, body: Any) -> None:
    model = ChatQwen3(base_url=llama_cpp, server=server, enable_thinking=True, extra_body={**GRAMMAR, **body})
    for message in (await ways(model, "How many legs?")).values():
        assert parted(message) == (THOUGHT, SAID)
        assert message.usage_metadata is not None
        assert message.usage_metadata["output_tokens"] > 5
    assert len([chunk for chunk in model.stream("How many legs?") if reasoning_in(chunk)]) > 1


def test_it_reads_the_switch(llama_cpp: str) -> None:
    model = ChatQwen3(base_url=llama_cpp, server="llama.cpp", max_tokens=1)
    tokens = {}
    for enable in (True, False):
        message = model.invoke("Hi", enable_thinking=enable)
        assert message.usage_metadata is not None
        tokens[enable] = message.usage_metadata["input_tokens"]
    assert tokens[False] > tokens[True]  # by the empty think block


def test_it_takes_a_budget(llama_cpp: str) -> None:
    model = ChatQwen3(base_url=llama_cpp, server="llama.cpp", enable_thinking=True, thinking_budget=5, max_tokens=4)
    assert model.invoke("Hi").usage_metadata


def test_it_holds_the_answer_to_a_schema(llama_cpp: str) -> None:
    model = ChatQwen3(base_url=llama_cpp, enable_thinking=False, max_tokens=100, temperature=0)
    chain = model.with_structured_output(Person)
    assert isinstance(chain.invoke("Ann is 30 years old."), Person)
    assert isinstance(list(chain.stream("Ann is 30 years old."))[-1], Person)


def test_it_reasons_with_a_response_format(llama_cpp: str) -> None:
    words = 'root ::= "<think>\\nwhy\\n</think>\\n\\n{\\"name\\": \\"Ann\\", \\"age\\": 30}"'
    model = ChatQwen3(base_url=llama_cpp, enable_thinking=True, extra_body={"grammar": words})
    text_format: dict[str, Any] = {"response_format": {"type": "text"}}
    for message in (model.invoke("Ann?", **text_format), whole(model.stream("Ann?", **text_format))):
        assert (reasoning_in(message).strip(), json.loads(message.text)) == ("why", {"name": "Ann", "age": 30})
