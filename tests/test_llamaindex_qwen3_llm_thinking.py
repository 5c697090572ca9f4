"""`Qwen3`'s wishes about thinking on every server: the switch, the budget, the effort, the sampling, and "auto"."""

import json
from typing import Any

import pytest
from llamaindex_chat import ASKED, EARLIER, OTHER, QUESTION, WAYS, ask, llm_of, parted
from scripted_chat import SERVERS, DashScope, LlamaCpp, Ollama, ScriptedChat, Sglang, Vllm

from llamaindex_qwen3.llms import Qwen3

# The fields that a server may drop without harm: sampling beyond what it knows, and the wish for token counts.
HARMLESS = {"min_p", "stream_options", "parallel_tool_calls"}
SILENT = {"openai"}  # a strict OpenAI server never shows what it thought


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DASHSCOPE_API_KEY", "DASHSCOPE_API_BASE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=sorted(SERVERS))
def server(request: Any) -> ScriptedChat:
    return SERVERS[request.param](seed=3)


# --- the switch --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("way", WAYS)
async def test_every_way_to_ask_parts_reasoning_and_answer_on_every_server(
    server: ScriptedChat, way: str, on: Any
) -> None:
    responses = await ask(llm_of(server, enable_thinking=on), way)
    thought, said = parted(responses[-1])
    assert (thought.strip(), said) == (server.reasoning if on and server.server not in SILENT else "", server.content)
    if "stream" in way:
        assert "".join(response.delta or "" for response in responses) == server.content
    assert set(server.dropped) <= HARMLESS


@pytest.mark.parametrize("own", [True, False, None])
async def test_the_switch_of_a_call_beats_the_instances(server: ScriptedChat, own: Any) -> None:
    llm = llm_of(server, enable_thinking=own)
    for way in WAYS:
        for on in (True, False):
            thought, _ = parted((await ask(llm, way, enable_thinking=on))[-1])
            assert bool(thought) is (on and server.server not in SILENT)
    assert llm.enable_thinking is own


def test_none_in_a_call_is_the_servers_own_default() -> None:
    server = Vllm()
    llm = llm_of(server, enable_thinking=False)
    assert parted(llm.chat(ASKED, enable_thinking=None))[0]
    assert "chat_template_kwargs" not in server.last


def test_a_server_without_a_reasoning_parser_leaves_tags_which_are_read() -> None:
    for server in (Vllm(reasoning_parser=False), Sglang(reasoning_parser=False), Vllm(version="0.9")):
        llm = llm_of(server, enable_thinking=True)
        for response in (llm.chat(ASKED), list(llm.stream_chat(ASKED))[-1]):
            assert (parted(response)[0].strip(), parted(response)[1]) == (server.reasoning, server.content)


def test_a_template_that_writes_the_opening_tag_leaves_only_the_closing_one() -> None:
    for model in ("Qwen/Qwen3-4B-Thinking-2507", "Qwen/Qwen3.5-9B"):
        server = Vllm(reasoning_parser=False)
        llm = llm_of(server, model=model, **({} if "Thinking" in model else {"enable_thinking": True}))
        for response in (llm.chat(ASKED), list(llm.stream_chat(ASKED))[-1]):
            assert parted(response) == (server.reasoning, server.content)


@pytest.mark.parametrize(
    ("model", "arguments", "streams", "thinks"),
    [
        ("qwen3-8b", {}, False, False),
        ("qwen3-8b", {"enable_thinking": True}, True, True),
        ("qwen3-8b", {"thinking_budget": 9}, True, True),
        ("qwen-plus", {}, False, False),
        ("qwen-plus", {"enable_thinking": True}, True, True),
        ("qwen3.5-plus", {}, False, True),
        ("qwen3.5-plus", {"extra_body": {"enable_search": True}}, True, True),
        ("qwen3-next-80b-a3b-thinking", {}, True, True),
        ("qwq-plus", {}, True, True),
        ("qwen3-30b-a3b-instruct-2507", {}, False, False),
    ],
)
async def test_dashscope_is_streamed_inside_only_where_it_must(
    model: str, arguments: Any, streams: Any, thinks: Any
) -> None:
    server = DashScope()
    llm = llm_of(server, model=model, **arguments)
    for way in ("chat", "achat", "complete"):
        (response,) = await ask(llm, way)
        assert bool(server.last.get("stream")) is streams
        assert parted(response) == (server.reasoning if thinks else "", server.content)
        assert (response.delta, response.additional_kwargs["finish_reason"]) == (None, "stop")
        assert response.additional_kwargs["total_tokens"] == response.raw.usage.total_tokens


# --- budget, effort, preserved thinking --------------------------------------------------------------------


@pytest.mark.parametrize("server", [DashScope(), Vllm(), LlamaCpp(), Sglang(strict_thinking=True)])
def test_a_budget_is_enforced_where_the_server_has_one(server: ScriptedChat) -> None:
    llm = llm_of(server, enable_thinking=True, thinking_budget=5)
    assert parted(llm.chat(ASKED))[0].strip() == "First I compare the digits."
    assert parted(llm.chat(ASKED, thinking_budget=1))[0].strip() == "First"
    assert parted(llm.chat(ASKED, thinking_budget=None))[0].strip() == server.reasoning
    llm.chat(ASKED, enable_thinking=False)
    assert server.seen.budget is None
    assert not {"thinking_budget", "thinking_token_budget", "thinking_budget_tokens", "custom_params"} & set(
        server.last
    )


@pytest.mark.parametrize("name", ["transformers", "ollama", "xinference", "lmstudio", "openai", "auto"])
def test_a_budget_without_a_field_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="cannot carry a thinking_budget"):
        Qwen3(api_base=OTHER, server=name, thinking_budget=5)
    with pytest.raises(ValueError, match="cannot carry a thinking_budget"):
        Qwen3(api_base=OTHER, server=name).chat(ASKED, thinking_budget=5)


def test_an_effort_reaches_the_template_as_the_level_that_it_means() -> None:
    for server in (DashScope(), Vllm(), Sglang(), LlamaCpp()):
        llm = llm_of(server, model="qwen3.8-27b", reasoning_effort="high")
        list(llm.stream_chat(ASKED))
        assert server.seen.effort == "xhigh"
        assert parted(llm.chat(ASKED, reasoning_effort="minimal"))[0]
        assert server.seen.effort == "low"
        assert not parted(llm.chat(ASKED, reasoning_effort="none"))[0]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"model": "qwen3-8b", "reasoning_effort": "high"}, "has no reasoning_effort='high'"),
        ({"model": "qwen3.8-max", "reasoning_effort": "extreme"}, "low, medium, high"),
        ({"model": "qwen3.8-max", "reasoning_effort": "low", "thinking_budget": 9}, "not both"),
        ({"model": "qwen3-8b", "reasoning_effort": "none", "enable_thinking": True}, "say one"),
        ({"model": "qwen3-8b", "preserve_thinking": True}, "began with Qwen3.6"),
        ({"model": "qwen3-4b-instruct-2507", "enable_thinking": True}, "does not think"),
        ({"model": "qwen3-4b-thinking-2507", "enable_thinking": False}, "cannot stop thinking"),
        ({"model": "qwen3.8-max", "server": "ollama", "preserve_thinking": True}, "preserve_thinking.*'ollama'"),
    ],
)
def test_what_server_or_model_cannot_do_is_refused_at_once(arguments: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Qwen3(api_key="k", **arguments)
    wishes = {name: value for name, value in arguments.items() if name not in ("model", "server")}
    llm = Qwen3(api_key="k", **{name: value for name, value in arguments.items() if name not in wishes})
    with pytest.raises(ValueError, match=text):
        llm.chat(ASKED, **wishes)


@pytest.mark.parametrize("wrong", [{"thinking_budget": 0}, {"enable_thinking": "false"}, {"nonsense": 1}, {"n": 2}])
def test_wrong_values_in_a_call_are_refused_before_sending(wrong: Any) -> None:
    server = DashScope()
    for way in ("chat", "stream_chat", "complete"):
        with pytest.raises((ValueError, TypeError)):
            getattr(llm_of(server), way)(QUESTION if way == "complete" else ASKED, **wrong)
    assert server.requests == []


@pytest.mark.parametrize("kind", [DashScope, Vllm, Sglang, LlamaCpp])
def test_earlier_reasoning_goes_back_only_where_it_is_preserved(kind: Any) -> None:
    server = kind()
    llm = llm_of(server, model="qwen3.7-plus")
    llm.chat(EARLIER)
    assert server.seen.kept == ()
    assert "A greeting." not in json.dumps(server.last)
    llm.chat(EARLIER, preserve_thinking=True)
    assert server.seen.kept == ("A greeting.",)
    newest = llm_of(server, model="qwen3.8-max")  # preserves by default
    newest.chat(EARLIER)
    assert server.seen.kept == ("A greeting.",)
    newest.chat(EARLIER, preserve_thinking=False)
    assert server.seen.kept == ()


# --- sampling ----------------------------------------------------------------------------------------------

THINKING = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0}
PLAIN = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.0}


async def test_the_cards_sampling_is_sent_for_thinking_and_for_not_thinking(server: ScriptedChat) -> None:
    llm = llm_of(server)
    for way in WAYS:
        for on, wanted in ((True, THINKING), (False, PLAIN)):
            await ask(llm, way, enable_thinking=on)
            assert server.seen.sampling == {name: value for name, value in wanted.items() if name in server.reads}


def test_sampling_of_the_user_stays() -> None:
    server = Vllm()
    llm = llm_of(server, enable_thinking=True, temperature=0.3, additional_kwargs={"top_p": 0.5})
    llm.chat(ASKED, extra_body={"top_k": 7})
    assert server.seen.sampling == {"temperature": 0.3, "top_p": 0.5, "top_k": 7, "min_p": 0.0}
    llm_of(server, recommended_sampling=False, enable_thinking=True).chat(ASKED)
    assert server.seen.sampling == {}
    llm_of(server, model="my-own-model", enable_thinking=True).chat(ASKED)
    assert server.seen.sampling == {}


def test_thinking_is_never_greedy(caplog: Any) -> None:
    server = Vllm()
    llm = llm_of(server, enable_thinking=True, temperature=0)
    llm.chat(ASKED)
    assert server.seen.sampling["temperature"] == 0.6
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    llm.chat(ASKED, enable_thinking=False)
    assert server.seen.sampling["temperature"] == 0
    assert len(caplog.records) == 1
    assert llm.temperature == 0


def test_dashscope_warns_once_of_greedy_thinking(caplog: Any) -> None:
    llm_of(DashScope(), enable_thinking=True, temperature=0).chat(ASKED)
    assert len(caplog.records) == 1


def test_ollama_has_no_switch_but_the_effort() -> None:
    server = Ollama()
    llm = llm_of(server)
    llm.chat(ASKED, enable_thinking=False)
    assert server.last["reasoning_effort"] == "none"
    llm.chat(ASKED, enable_thinking=True)
    assert "reasoning_effort" not in server.last
