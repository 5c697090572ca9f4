"""What to do about the errors of chat servers, by what they say.

The texts are those of Alibaba Cloud's error-code page and of the sources beside the dialects in `qwen3_core.thinking`;
those of the chat templates come from Qwen3.5's and Qwen3.8's.
"""

import re

_HINTS = (
    # DashScope, ModelScope
    (
        r"enable_thinking must be set to false for non-streaming|only support stream call|only support stream mode"
        r"|enable thinking can not be support when|does not support Web Search in thinking mode",
        'This server lets a model think in streams only: server="dashscope" streams inside; or do not let it think.',
    ),
    (
        r"Json mode response is not supported when enable_thinking",
        'Pass enable_thinking=False, or server="dashscope", which does so for calls with an output format.',
    ),
    (
        r"must contain the word 'json'|Unknown format of response_format",
        'Say "JSON" in the prompt, or ask for structured output by function calling.',
    ),
    (
        r"tool_choice parameter does not support being set to required or object",
        'Pass enable_thinking=False, or server="dashscope", which does so for calls that force a tool.',
    ),
    (r"tool_choice is one of the strings", 'This model takes the tool_choice "auto" and "none" only.'),
    (r"The tool call is not supported", "This model has no tools; take one that has."),
    (r"Tool names are not allowed to be", "Give the tool another name."),
    (r"must be a response to a prece", "Leave the assistant's message with the tool_calls before the tool's result."),
    (r"restricted to True", "This model always thinks; take one that can stop, or leave enable_thinking out."),
    (r"thinking_budget parameter must be a positive integer", "Lower thinking_budget to the limit named there."),
    (r"cannot be set simultaneously", "Leave out thinking_budget or reasoning_effort."),
    (
        r"Range of max_tokens should be",
        "On DashScope max_tokens limits the answer alone; max_completion_tokens limits reasoning and answer.",
    ),
    (r"input content must be a string", "This model takes text only; leave images out."),
    (r"Allocated quota exceeded", "The tokens per minute are used up: send less at a time, or ask for a higher quota."),
    (
        r"Range of input length should be|maximum context length|exceeds the available context size",
        "The messages are longer than the model reads: shorten them, or retrieve fewer documents.",
    ),
    # vLLM, SGLang
    (
        r"requires --enable-auto-tool-choice|requires --tool-call-parser",
        "Start vLLM with --enable-auto-tool-choice --tool-call-parser hermes (qwen3_coder for Qwen3.5 and later).",
    ),
    (r"reasoning_config is not configured", "Start vLLM with --reasoning-parser qwen3 to give requests a budget."),
    (r"does not match any of the specified|not found in tools list", "tool_choice has to name one of the tools."),
    (
        r"not configured to enable custom logit processor",
        "Start SGLang with --enable-custom-logit-processor, or for thinking_budget with --enable-strict-thinking.",
    ),
    # llama.cpp
    (
        r"prefill is incompatible with enable_thinking|2 or more assistant messages at the end",
        "End the messages with one of the user's.",
    ),
    (r"image input is not supported", "Start llama-server with --mmproj, or leave images out."),
    # transformers serve
    (
        r"Unexpected fields in the request",
        'Name the server, server="transformers". It takes OpenAI\'s fields, seed, chat_template_kwargs and '
        "generation_config, which replaces the checkpoint's own: say max_new_tokens and do_sample in it too.",
    ),
    (r"Server is pinned to", "Pass the model's name that the server was started with."),
    # Ollama
    (
        r"does not support thinking|think value .* is not supported",
        "This model does not think, or knows no effort: leave enable_thinking and reasoning_effort out.",
    ),
    (r"invalid reasoning value", "This Ollama knows the efforts low, medium and high; newer ones know more."),
    (r"try pulling it first", "Run `ollama pull` with the model's name."),
    (r"image URLs are not currently supported", "Give images as base64 data."),
    # LM Studio, OpenAI
    (r"Invalid tool_choice type|response_format\.type' must be", 'Name the server: server="lmstudio".'),
    (r"Unrecognized request argument|Unknown parameter", 'For a strict OpenAI server pass server="openai".'),
    # chat templates
    (r"Unexpected reasoning effort", "reasoning_effort takes low, medium and xhigh for this model."),
    (r"Disabling thinking is not supported", "This model always thinks; leave enable_thinking out."),
    (r"(?i)no user query found", "Qwen3.5 and later want a message of the user's."),
    (
        r"System message must be at the beginning",
        "Qwen3.5 and later take one system message, the first: put all instructions into it.",
    ),
)
_STATUS_HINTS = {
    401: "Check api_key; DashScope's keys are per region.",
    404: "Check the model's name (the server lists its models under /models) and that {url_argument} ends in /v1.",
    429: "max_retries waits longer before it gives up; fewer requests at a time help.",
    503: "If the server is still loading its model, try again, or raise max_retries.",
}


def hint_for(message: str, status: int | None = None, *, url_argument: str = "base_url") -> str:
    """Return what to do about a server's error, ``""`` where nothing is known.

    Args:
        message: What the server said.
        status: Its HTTP status.
        url_argument: What the caller's class calls its URL.
    """
    known = next((hint for pattern, hint in _HINTS if re.search(pattern, message)), "")
    return known or _STATUS_HINTS.get(status or 0, "").format(url_argument=url_argument)
