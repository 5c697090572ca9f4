"""A chat template that renders what Qwen3's own does, so that tests need no download.

`test_chat_template.py` compares the two. The words that a model was trained on, and by which servers tell the
Hermes tool format, are kept to the letter; the code around them is ours. As in the original, text is joined with
`+`, which refuses content that is null or a list.
"""

_WORDS = r"""
{%- set tools_before = "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    + "You are provided with function signatures within <tools></tools> XML tags:\n<tools>" -%}
{%- set tools_after = "\n</tools>\n\nFor each function call, return a json object with function name and arguments"
    + " within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    + '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>' -%}
"""

_SYSTEM = r"""
{%- set opening = messages[0].content if messages[0].role == 'system' else '' -%}
{%- if tools -%}
    {{- '<|im_start|>system\n' + (opening + '\n\n' if messages[0].role == 'system' else '') + tools_before -}}
    {%- for tool in tools -%} {{- '\n' -}} {{- tool | tojson -}} {%- endfor -%}
    {{- tools_after + '<|im_end|>\n' -}}
{%- elif messages[0].role == 'system' -%}
    {{- '<|im_start|>system\n' + opening + '<|im_end|>\n' -}}
{%- endif -%}
"""

# A user turn that is only a wrapped tool result is no question: the reasoning before it is still wanted.
_LAST_QUESTION = r"""
{%- set last = namespace(question=messages | length - 1) -%}
{%- for message in messages -%}
    {%- if message.role == 'user' -%}
        {%- set text = message.content -%}
        {%- if not (text.startswith('<tool_response>') and text.endswith('</tool_response>')) -%}
            {%- set last.question = loop.index0 -%}
        {%- endif -%}
    {%- endif -%}
{%- endfor -%}
"""

_ASSISTANT = r"""
{%- set answer = message.content -%}
{%- set thought = '' -%}
{%- if message.reasoning_content is defined and message.reasoning_content is not none -%}
    {%- set thought = message.reasoning_content -%}
{%- elif '</think>' in answer -%}
    {%- set parts = answer.split('</think>') -%}
    {%- set thought = parts[0].split('<think>')[-1] -%}
    {%- set answer = parts[-1].lstrip('\n') -%}
{%- endif -%}
{%- if loop.index0 > last.question and (loop.last or thought) -%}
    {{- '<|im_start|>assistant\n<think>\n' + thought.strip('\n') + '\n</think>\n\n' + answer.lstrip('\n') -}}
{%- else -%}
    {{- '<|im_start|>assistant\n' + answer -}}
{%- endif -%}
{%- for call in message.tool_calls or [] -%}
    {%- set wanted = call.function if call.function else call -%}
    {{- '\n' if answer or not loop.first else '' -}}
    {{- '<tool_call>\n{"name": "' + wanted.name + '", "arguments": ' -}}
    {{- wanted.arguments if wanted.arguments is string else wanted.arguments | tojson -}}
    {{- '}\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\n' -}}
"""

# Results that follow one another share a user turn.
_TOOL = r"""
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%} {{- '<|im_start|>user' -}} {%- endif -%}
{{- '\n<tool_response>\n' -}} {{- message.content -}} {{- '\n</tool_response>' -}}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%} {{- '<|im_end|>\n' -}} {%- endif -%}
"""

_GENERATION = r"""
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\n' -}}
    {{- '<think>\n\n</think>\n\n' if enable_thinking is defined and enable_thinking is false else '' -}}
{%- endif -%}
"""

QWEN3_STYLE_TEMPLATE: str = "".join(
    part.strip()
    for part in (
        _WORDS,
        _SYSTEM,
        _LAST_QUESTION,
        "{%- for message in messages -%}",
        "{%- if message.role == 'assistant' -%}",
        _ASSISTANT,
        "{%- elif message.role == 'tool' -%}",
        _TOOL,
        "{%- elif message.role == 'user' or (message.role == 'system' and not loop.first) -%}",
        r"{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}",
        "{%- endif -%}",
        "{%- endfor -%}",
        _GENERATION,
    )
)
"""Jinja source. It reads `messages`, `tools`, `add_generation_prompt` and `enable_thinking`."""
