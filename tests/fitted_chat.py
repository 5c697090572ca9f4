"""Chat checkpoints that say by heart what a test wants: Qwen3 with random weights, and a head that was fitted to it.

Random layers tell every context apart, so the head that gives each the wanted next token is found by solving linear
equations. No training, and the text is known to the letter, as long as there are fewer tokens than dimensions.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chat_conversations import GET_WEATHER, PLACE_TOOL
from chat_template import QWEN3_STYLE_TEMPLATE
from conftest import MINI, _small_config

from qwen3_core.local_chat.decoding import END_OF_THINKING, Texts
from qwen3_core.local_chat.reply import Piece

END = "<|im_end|>"
HELLO = [{"role": "user", "content": "Hello"}]
THOUGHT = "The user greets me: 你好🙂.\nI greet back."
ANSWER = "Hi there, 世界🙂!"
DIRECT = "Plain hi."
CUT = 6
"""A budget that the thought about `HELLO` exceeds."""
IN_TIME = "No time."

WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
LOOP: list[dict[str, Any]] = [
    *WEATHER,
    {
        "role": "assistant",
        "content": "",
        "reasoning_content": "I need the tool.",
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "1", "content": "sunny"},
]
TWO = [{"role": "user", "content": "Compare Rome and Oslo."}]
BROKEN = [{"role": "user", "content": "Break a call."}]
STOPS = [{"role": "user", "content": "Count."}]
PLACE = [{"role": "user", "content": "Describe Paris."}]

# What Qwen3.5 and later do differently, in as few lines as show it.
XML_STYLE_TEMPLATE = r"""
{%- macro said(content) -%}
    {{- content if content is string else raise_exception('Unexpected content.') -}}
{%- endmacro -%}
{%- set last = namespace(question=-1) -%}
{%- for message in messages -%}
    {%- set content = said(message.content) | trim -%}
    {%- if message.role == 'user' and not content.startswith('<tool_response>') -%}
        {%- set last.question = loop.index0 -%}
    {%- endif -%}
{%- endfor -%}
{%- if last.question < 0 -%} {{- raise_exception('No user query found in messages.') -}} {%- endif -%}
{%- if tools -%}
    {{- '<|im_start|>system\n<tools>' -}}
    {%- for tool in tools -%} {{- '\n' + tool | tojson -}} {%- endfor -%}
    {{- '\n</tools>\n\n<tool_call>\n<function=name>\n<parameter=key>\nvalue\n</parameter>\n' -}}
    {{- '</function>\n</tool_call><|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {%- set content = said(message.content) | trim -%}
    {%- if message.role == 'tool' -%}
        {{- '<|im_start|>user\n<tool_response>\n' + content + '\n</tool_response><|im_end|>\n' -}}
    {%- elif message.role != 'assistant' -%}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' -}}
    {%- else -%}
        {{- '<|im_start|>assistant\n' -}}
        {%- if loop.index0 > last.question or preserve_thinking is true -%}
            {{- '<think>\n' + (message.reasoning_content or '') | trim + '\n</think>\n\n' -}}
        {%- endif -%}
        {{- content -}}
        {%- for call in message.tool_calls or [] -%}
            {{- '\n\n' if content else '' -}} {{- '<tool_call>\n<function=' + call.function.name + '>\n' -}}
            {%- for key, value in call.function.arguments | items -%}
                {{- '<parameter=' + key + '>\n' -}}
                {{- value | string if value is string else value | tojson -}}
                {{- '\n</parameter>\n' -}}
            {%- endfor -%}
            {{- '</function>\n</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\n' + ('<think>\n\n</think>\n\n' if enable_thinking is false else '<think>\n') -}}
{%- endif -%}
"""

_SWITCH = "{{- '<think>\\n\\n</think>\\n\\n' if enable_thinking is defined and enable_thinking is false else '' -}}"
assert _SWITCH in QWEN3_STYLE_TEMPLATE
ALWAYS_TEMPLATE = QWEN3_STYLE_TEMPLATE.replace(_SWITCH, "{{- '<think>\\n' -}}")
"""As of Thinking-2507."""
NEVER_TEMPLATE = QWEN3_STYLE_TEMPLATE.replace(_SWITCH, "")
"""As of Instruct-2507."""


def told(pieces: Sequence[Piece]) -> tuple[str, str]:
    """Return the reasoning and the answer of a reply."""
    return "".join(piece.reasoning for piece in pieces), "".join(piece.answer for piece in pieces)


def calls_in(pieces: Sequence[Piece]) -> list[tuple[str, str]]:
    """Return name and arguments of each call."""
    return [(piece.tool_call.name, piece.tool_call.arguments) for piece in pieces if piece.tool_call]


class Rehearsal:
    """Teaches a checkpoint its lines.

    Args:
        folder: An empty folder.
        template: The chat template.
        config: Changes to the architecture.
    """

    def __init__(self, folder: Path, template: str = QWEN3_STYLE_TEMPLATE, **config: Any) -> None:
        from transformers import Qwen3ForCausalLM, set_seed

        write_tokenizer(folder, template)
        self.folder, self.texts = folder, Texts(folder, "fitted")
        set_seed(3)
        sizes = {"vocab_size": 14400, "hidden_size": 384, "num_hidden_layers": 2, "eos_token_id": 14376}
        model: Any = Qwen3ForCausalLM(_small_config(**{**sizes, "tie_word_embeddings": False, **config}))
        self._model = model.eval()
        self._seen: list[Any] = []
        self._next: list[int] = []

    def ids(self, text: str) -> list[int]:
        """Tokenise a reply, control tokens included."""
        return self.texts.tokenizer.control(text)

    def learn(
        self, messages: Sequence[Mapping[str, Any]], reply: str, *, given: Sequence[int] = (), **how: Any
    ) -> None:
        """Learn a reply; ``given`` is what stands there already behind the prompt of ``how``."""
        import torch

        before = [*self.texts.template.prompt(messages, **how).ids, *given]
        after = self.ids(reply)
        with torch.no_grad():
            states = self._model.model(torch.tensor([before + after])).last_hidden_state[0, len(before) - 1 : -1]
        self._seen.append(states)
        self._next += after

    def save(self) -> Path:
        """Fit the head, unless nothing was learned, and write the checkpoint."""
        import torch

        if not self._seen:
            self._model.save_pretrained(self.folder)
            return self.folder
        states = torch.cat(self._seen).double()
        wanted = torch.zeros(len(self._next), self._model.config.vocab_size, dtype=torch.float64)
        wanted[range(len(self._next)), self._next] = 30
        head = torch.linalg.pinv(states) @ wanted
        best, second = (states @ head).topk(2).values.T
        assert (best - second).min() > 20, f"too many tokens to learn ({len(self._next)}): add dimensions"
        self._model.lm_head.weight.data = head.T.float().contiguous()
        self._model.save_pretrained(self.folder)
        return self.folder


def write_tokenizer(folder: Path, template: str) -> None:
    """Write the small tokenizer with a chat template."""
    shutil.copy(MINI / "reranker" / "tokenizer.json", folder)
    config = json.loads((MINI / "reranker" / "tokenizer_config.json").read_text(encoding="utf-8"))
    config |= {"chat_template": template, "model_max_length": 32768}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def rehearse(
    folder: Path,
    place_tools: Sequence[dict[str, Any]] = (PLACE_TOOL,),
    weather_tools: Sequence[dict[str, Any]] = (GET_WEATHER,),
) -> Path:
    """Write the checkpoint that the tests of the engine and of both frameworks talk to.

    Args:
        folder: An empty folder.
        place_tools: The ways in which a tool called ``Place`` is described.
        weather_tools: The ways in which a tool called ``get_weather`` is described.
    """
    chat = Rehearsal(folder)
    tools: list[Any] = [GET_WEATHER]
    whole = f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}{END}"
    chat.learn(HELLO, whole)
    chat.learn(HELLO, DIRECT + END, enable_thinking=False)
    spent = chat.ids(whole)[: CUT + 1]
    chat.learn(HELLO, IN_TIME + END, given=[*spent, *chat.ids(END_OF_THINKING)])
    for tool in weather_tools:
        chat.learn(WEATHER, f"<think>\nI need the tool.\n</think>\n\n{CALL}{END}", tools=[tool])
        chat.learn(LOOP, f"<think>\nIt is there.\n</think>\n\nIt is sunny.{END}", tools=[tool])
    rome, oslo = CALL.replace("Paris", "Rome"), CALL.replace("Paris", "Oslo")
    chat.learn(TWO, f"Both:\n{rome}\n{oslo}{END}", tools=tools, enable_thinking=False)
    chat.learn(BROKEN, CALL.replace("}}", ",") + END, tools=tools, enable_thinking=False)
    chat.learn(STOPS, f"one two three\n\nfour END five{END}", enable_thinking=False)
    begun = chat.ids("<tool_call>") + chat.ids('\n{"name": "get_weather", "arguments":')
    chat.learn(WEATHER, f' {{"city": "Paris"}}}}\n</tool_call>{END}', given=begun, tools=tools, skip_thinking=True)
    begun = chat.ids("<tool_call>") + chat.ids('\n{"name": "Place", "arguments":')
    place = ' {"city": "Paris", "country": "France"}}\n</tool_call>'
    for tool in place_tools:
        chat.learn(PLACE, place + END, given=begun, tools=[tool], skip_thinking=True)
    return chat.save()
