"""What servers say when they refuse, each text as it was seen, and what to do about it."""

from typing import Any

import pytest

from qwen3_core.chat.error_hints import hint_for

ALGO = "<400> InternalError.Algo.InvalidParameter: "


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("parameter.enable_thinking must be set to false for non-streaming calls", 'server="dashscope" streams inside'),
        ("parameter.enable_thinking only support stream call", 'server="dashscope" streams inside'),
        (
            "This model only support stream mode, please enable the stream parameter to access the model.",
            "streams only",
        ),
        ("enable thinking can not be support when `stream=False`.", "streams only"),  # ModelScope
        ("Non-streaming mode does not support Web Search in thinking mode.", "streams only"),
        ("The value of the enable_thinking parameter is restricted to True.", "always thinks"),
        (
            f"{ALGO}The thinking_budget parameter must be a positive integer and not greater than 38912",
            "Lower thinking_budget",
        ),
        ("Json mode response is not supported when enable_thinking is true", "enable_thinking=False"),
        (
            f"{ALGO}'messages' must contain the word 'json' in some form, to use 'response_format' of type "
            "'json_object'.",
            'Say "JSON" in the prompt',
        ),
        ("Unknown format of response_format", "function calling"),
        (
            f"{ALGO}The tool_choice parameter does not support being set to required or object in thinking mode",
            "enable_thinking=False",
        ),
        ('tool_choice is one of the strings that should be ["none", "auto"]', '"auto" and "none" only'),
        ("The tool call is not supported.", "has no tools"),
        ("Tool names are not allowed to be [search]", "another name"),
        (
            'messages with role "tool" must be a response to a preceeding message with "tool_calls".',
            "assistant's message with the tool_calls",
        ),
        ("'reasoning_effort' and 'thinking_budget' cannot be set simultaneously", "Leave out thinking_budget or"),
        ("Range of max_tokens should be [1, 32768]", "max_completion_tokens"),
        ("Range of input length should be [1, 983616]", "shorten"),
        ("input content must be a string.", "text only"),
        ("Allocated quota exceeded, please increase your quota limit.", "quota"),
        (
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            "--enable-auto-tool-choice --tool-call-parser hermes",
        ),
        ('tool_choice="required" requires --tool-call-parser to be set', "--tool-call-parser hermes"),
        (
            "thinking_token_budget is set but reasoning_config is not configured. Please set --reasoning-config to use "
            "thinking_token_budget.",
            "--reasoning-parser qwen3",
        ),
        ("The tool specified in `tool_choice` does not match any of the specified `tools`", "one of the tools"),
        ("Tool 'x' not found in tools list.", "one of the tools"),
        ("This model's maximum context length is 4096 tokens. However, you requested 5000", "shorten"),
        (
            "The server is not configured to enable custom logit processor. Please set "
            "`--enable-custom-logit-processor` to enable this feature.",
            "--enable-strict-thinking",
        ),
        ("Assistant response prefill is incompatible with enable_thinking.", "End the messages"),
        ("Cannot have 2 or more assistant messages at the end of the list.", "End the messages"),
        ("image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", "--mmproj"),
        ("the request exceeds the available context size, try increasing it", "shorten"),
        ("Unexpected fields in the request: {'enable_thinking'}", 'server="transformers"'),
        ("Server is pinned to 'a'; requested 'b'.", "was started with"),
        ('"qwen2.5:7b" does not support thinking', "does not think"),
        ('think value "low" is not supported for this model', "knows no effort"),
        ('invalid reasoning value: \'xhigh\' (must be "high", "medium", "low", or "none")', "low, medium and high"),
        ('model "x" not found, try pulling it first', "`ollama pull`"),
        ("image URLs are not currently supported, please use base64 encoded data instead", "base64"),
        (
            "Invalid tool_choice type: 'object'. Supported string values: none, auto, required",
            'server="lmstudio"',
        ),
        ("'response_format.type' must be 'json_schema' or 'text'", 'server="lmstudio"'),
        ("Unrecognized request argument supplied: enable_thinking", 'server="openai"'),
        ("Unknown parameter: 'reasoning'.", 'server="openai"'),
        (
            "Unexpected reasoning effort high. Supported types are xhigh (default), medium, and low.",
            "low, medium and xhigh",
        ),
        ("Disabling thinking is not supported.", "always thinks"),
        ("No user query found in messages.", "message of the user's"),
        ("no user query found in messages", "message of the user's"),  # Ollama
        ("System message must be at the beginning.", "one system message"),
    ],
)
def test_a_known_text_has_a_hint_wherever_it_stands(said: str, hint: str) -> None:
    assert hint in hint_for(said)
    assert hint in hint_for(f"Error code: 400 - {{'error': {{'message': {said!r}, 'code': None}}}}", 400)


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "api_key"), (404, "api_base ends in /v1"), (429, "max_retries"), (503, "loading"), (500, ""), (None, "")],
)
def test_an_unknown_text_has_the_hint_of_its_status(status: Any, hint: str) -> None:
    given = hint_for("Something else", status, url_argument="api_base")
    assert hint in given
    assert bool(given) is bool(hint)
