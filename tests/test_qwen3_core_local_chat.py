"""The local chat engine: what it says, how it chooses, and that it can be left at any time."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import pickle
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_conversations import CATCH_UP, GET_WEATHER, LARGER, PLACE_TOOL, TWO_CITIES, function
from chat_template import QWEN3_STYLE_TEMPLATE
from fitted_chat import (
    ANSWER,
    BROKEN,
    CUT,
    DIRECT,
    HELLO,
    IN_TIME,
    LOOP,
    PLACE,
    STOPS,
    THOUGHT,
    TWO,
    WEATHER,
    XML_STYLE_TEMPLATE,
    Rehearsal,
    calls_in,
    rehearse,
    told,
    write_tokenizer,
)
from transformers import AutoTokenizer

from qwen3_core.families import Sampling, recommended_sampling
from qwen3_core.local_chat import LocalChat
from qwen3_core.local_chat.decoding import END_OF_THINKING
from qwen3_core.local_chat.generation import Network
from qwen3_core.local_chat.options import ChatOptions
from qwen3_core.local_chat.reply import Finish, Piece
from qwen3_core.local_chat.tool_calls import begin_call

pytestmark = pytest.mark.usefixtures("no_thread_stays")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rehearse(tmp_path_factory.mktemp("fitted"))


@pytest.fixture(scope="module")
def chat(folder: Path) -> LocalChat:
    return LocalChat(str(folder), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def undecided(tmp_path_factory: pytest.TempPathFactory) -> LocalChat:
    """A model that has learned nothing, to which many next tokens are about as good."""
    folder = Rehearsal(tmp_path_factory.mktemp("undecided"), hidden_size=64).save()
    return LocalChat(str(folder), dtype="float32", device="cpu")


def finish_of(pieces: Sequence[Piece]) -> Finish:
    assert pieces[-1].finish
    assert not any(piece.finish for piece in pieces[:-1])
    return pieces[-1].finish


# What it says


def test_a_thought_and_an_answer_are_streamed_apart(chat: LocalChat) -> None:
    pieces = list(chat.stream(HELLO))
    assert told(pieces) == (THOUGHT, ANSWER)
    assert len([piece for piece in pieces if piece.answer]) > 3
    ids = chat.token_ids(f"\n{THOUGHT}\n")
    assert finish_of(pieces) == Finish("stop", 10, 1 + len(ids) + 2 + len(chat.token_ids(ANSWER)) + 1, len(ids))
    assert chat.count_tokens(HELLO) == 10


def test_thinking_is_switched_off(chat: LocalChat) -> None:
    pieces = list(chat.stream(HELLO, ChatOptions(enable_thinking=False)))
    assert (told(pieces), finish_of(pieces).reasoning_tokens) == (("", DIRECT), 0)


@pytest.mark.parametrize("on", [True, False])
def test_a_rule_decides_about_thinking(chat: LocalChat, on: Any) -> None:
    asked: list[str] = []

    def rule(question: str, context: str) -> bool:
        asked.append(question)
        return bool(on)

    pieces = list(chat.stream(HELLO, ChatOptions(enable_thinking="auto", thinking_rule=rule)))
    assert asked == ["Hello"]
    assert told(pieces) == ((THOUGHT, ANSWER) if on else ("", DIRECT))


def test_a_budget_ends_the_thought_with_qwens_own_sentence(chat: LocalChat) -> None:
    pieces = list(chat.stream(HELLO, ChatOptions(thinking_budget=CUT)))
    phrase = END_OF_THINKING.removesuffix("\n</think>\n\n")
    assert told(pieces) == (f"The user greets me{phrase}", IN_TIME)
    assert finish_of(pieces).reasoning_tokens == CUT + len(chat.token_ids(phrase + "\n"))


def test_a_budget_that_is_not_spent_changes_nothing(chat: LocalChat) -> None:
    plenty = finish_of(list(chat.stream(HELLO))).reasoning_tokens + 1
    assert told(list(chat.stream(HELLO, ChatOptions(thinking_budget=plenty)))) == (THOUGHT, ANSWER)
    assert told(list(chat.stream(HELLO, ChatOptions(thinking_budget=1, enable_thinking=False)))) == ("", DIRECT)


@pytest.mark.parametrize("most", [1, 5, 20, 44])
def test_max_tokens_cuts_the_reply(chat: LocalChat, most: int) -> None:
    whole = finish_of(list(chat.stream(HELLO))).completion_tokens
    pieces = list(chat.stream(HELLO, ChatOptions(max_tokens=most)))
    finish = finish_of(pieces)
    assert (finish.reason, finish.completion_tokens) == ("length" if most < whole else "stop", most)
    thought, answer = told(pieces)
    assert THOUGHT.startswith(thought)
    assert ANSWER.startswith(answer)


def test_max_tokens_cuts_what_is_put_in_its_mouth(chat: LocalChat) -> None:
    pieces = list(chat.stream(HELLO, ChatOptions(thinking_budget=CUT, max_tokens=CUT + 4)))
    assert (finish_of(pieces).completion_tokens, finish_of(pieces).reason) == (CUT + 4, "length")
    assert told(pieces)[1] == ""


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (None, "one two three\n\nfour END five"),
        ("END", "one two three\n\nfour "),
        (["\n\n"], "one two three"),
        (["END five"], "one two three\n\nfour "),
    ],
)
def test_stop_texts_end_the_answer(chat: LocalChat, stop: Any, expected: str) -> None:
    pieces = list(chat.stream(STOPS, ChatOptions(stop=stop, enable_thinking=False)))
    assert (told(pieces)[1], finish_of(pieces).reason) == (expected, "stop")


def test_the_model_calls_a_tool_and_answers_with_its_result(chat: LocalChat) -> None:
    pieces = list(chat.stream(WEATHER, ChatOptions(tools=[GET_WEATHER])))
    assert (told(pieces), calls_in(pieces)) == (("I need the tool.", ""), [("get_weather", '{"city": "Paris"}')])
    assert finish_of(pieces).reason == "tool_calls"
    assert told(list(chat.stream(LOOP, ChatOptions(tools=[GET_WEATHER])))) == ("It is there.", "It is sunny.")


@pytest.mark.parametrize(
    ("parallel", "cities"), [(None, ["Rome", "Oslo"]), (True, ["Rome", "Oslo"]), (False, ["Rome"])]
)
def test_several_calls_in_one_reply(chat: LocalChat, parallel: Any, cities: list[str]) -> None:
    options = ChatOptions(tools=[GET_WEATHER], parallel_tool_calls=parallel, enable_thinking=False)
    pieces = list(chat.stream(TWO, options))
    assert [json.loads(arguments)["city"] for _, arguments in calls_in(pieces)] == cities
    assert (told(pieces)[1], finish_of(pieces).reason) == ("Both:", "tool_calls")


def test_a_broken_call_is_handed_over_as_it_is(chat: LocalChat) -> None:
    pieces = list(chat.stream(BROKEN, ChatOptions(tools=[GET_WEATHER], enable_thinking=False)))
    assert calls_in(pieces) == [("get_weather", '{"city": "Paris",')]
    cut = list(chat.stream(WEATHER, ChatOptions(tools=[GET_WEATHER], tool_choice="required", max_tokens=18)))
    assert calls_in(cut)[0][0] == "get_weather"
    assert finish_of(cut).reason == "length"


def test_tool_choice_none_takes_the_tools_away(chat: LocalChat) -> None:
    tools = [GET_WEATHER]
    assert chat.count_tokens(WEATHER, ChatOptions(tools=tools, tool_choice="none")) == chat.count_tokens(WEATHER)
    pieces = list(chat.stream(WEATHER, ChatOptions(tools=tools, tool_choice="none", max_tokens=40, seed=1)))
    assert calls_in(pieces) == []


@pytest.mark.parametrize(
    "choice", ["required", "any", True, "get_weather", {"type": "function", "function": {"name": "get_weather"}}]
)
@pytest.mark.parametrize("enable", [None, True, False])
def test_a_forced_tool_is_called_without_thinking(chat: LocalChat, choice: Any, enable: Any, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG, "qwen3_core.local_chat")
    pieces = list(chat.stream(WEATHER, ChatOptions(tools=[GET_WEATHER], tool_choice=choice, enable_thinking=enable)))
    assert (told(pieces), calls_in(pieces)) == (("", ""), [("get_weather", '{"city": "Paris"}')])
    assert finish_of(pieces).reason == "tool_calls"
    assert ("thinking is off for this call" in caplog.text) is (enable is not False)


def test_the_model_chooses_among_the_tools_that_are_there(undecided: LocalChat) -> None:
    """Whatever it would rather say, it begins with a call of one of them."""
    tools = [GET_WEATHER, PLACE_TOOL, function("get_weather_tomorrow", "")]
    names = set()
    for seed in range(12):
        options = ChatOptions(tools=tools, tool_choice="required", seed=seed, temperature=2.0, top_k=0, max_tokens=24)
        pieces = list(undecided.stream(HELLO, options))
        names.add(calls_in(pieces)[0][0])
    assert names <= {"get_weather", "Place", "get_weather_tomorrow"}
    assert len(names) > 1


def test_a_named_tool_among_others(chat: LocalChat) -> None:
    options = ChatOptions(tools=[PLACE_TOOL], tool_choice="Place")
    assert calls_in(list(chat.stream(PLACE, options))) == [("Place", '{"city": "Paris", "country": "France"}')]
    both = ChatOptions(tools=[GET_WEATHER, PLACE_TOOL], tool_choice="Place", max_tokens=20)
    assert calls_in(list(chat.stream(PLACE, both)))[0][0] == "Place"


@pytest.mark.parametrize(("thinks", "reply"), [(True, "hm\n</think>\n\nDone.<|im_end|>"), (False, "Direct.<|im_end|>")])
def test_a_later_model_thinks_in_a_block_that_its_template_opens(tmp_path: Path, thinks: Any, reply: str) -> None:
    later = Rehearsal(tmp_path, XML_STYLE_TEMPLATE, hidden_size=128)
    later.learn(HELLO, reply, enable_thinking=thinks)
    begun = [*later.ids("<tool_call>"), *later.ids(begin_call("get_weather", "xml"))]
    says = "<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call><|im_end|>"
    later.learn(WEATHER, says, given=begun, tools=[GET_WEATHER], skip_thinking=True)
    chat = LocalChat(str(later.save()), dtype="float32")
    pieces = list(chat.stream(HELLO, ChatOptions(enable_thinking=thinks)))
    assert told(pieces) == (("hm", "Done.") if thinks else ("", "Direct."))
    pieces = list(chat.stream(WEATHER, ChatOptions(tools=[GET_WEATHER], tool_choice="any")))
    assert calls_in(pieces) == [("get_weather", '{"city": "Paris"}')]


def test_a_trained_model_says_what_it_was_taught(chat_folder: Path) -> None:
    """Trained on whole conversations by their text, with the template's own rendering: the ids must be the same."""
    taught = LocalChat(str(chat_folder), dtype="float32", device="cpu")
    for exchange in (LARGER, CATCH_UP):
        asked = [{"role": "user", "content": exchange.question}]
        assert told(list(taught.stream(asked))) == (exchange.thought, exchange.answer)
        assert told(list(taught.stream(asked, ChatOptions(enable_thinking=False)))) == ("", exchange.direct)
    pieces = list(taught.stream(asked, ChatOptions(thinking_budget=12)))
    assert told(pieces)[0].endswith("based on the thinking directly now.")
    assert told(pieces)[1] == CATCH_UP.answer
    errand = {"role": "user", "content": TWO_CITIES.question}
    pieces = list(taught.stream([errand], ChatOptions(tools=[GET_WEATHER])))
    assert [(name, json.loads(given)) for name, given in calls_in(pieces)] == list(TWO_CITIES.calls)
    assert told(pieces) == (TWO_CITIES.thought, "")


# How it chooses


def test_the_same_seed_says_the_same_and_leaves_torch_alone(undecided: LocalChat) -> None:
    before = torch.random.get_rng_state()

    def said(seed: int | None) -> str:
        return "".join(told(list(undecided.stream(HELLO, ChatOptions(seed=seed, max_tokens=25)))))

    assert said(7) == said(7)
    assert len({said(7), said(8), said(None), said(None)}) == 4
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_presence_penalty_is_for_the_whole_reply(undecided: LocalChat) -> None:
    def said(penalty: float) -> str:
        options = ChatOptions(temperature=0, presence_penalty=penalty, enable_thinking=False, max_tokens=30)
        return told(list(undecided.stream(HELLO, options)))[1]

    assert len(set(said(2.0))) > len(set(said(0.0)))


def test_streams_side_by_side_do_not_touch_each_other(undecided: LocalChat) -> None:
    options = [ChatOptions(seed=seed, max_tokens=12) for seed in range(3)]
    alone = [told(list(undecided.stream(HELLO, each))) for each in options]
    together = zip(*itertools.zip_longest(*(undecided.stream(HELLO, each) for each in options)), strict=True)
    assert [told([piece for piece in pieces if piece]) for pieces in together] == alone
    assert len(set(alone)) == 3


def test_greedy_without_thinking_is_what_transformers_generates(chat: LocalChat, folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    # Longer than one portion of the prompt.
    for asked in ("Hello", "Never heard of it", "word " * 700):
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": asked}], add_generation_prompt=True, tokenize=False, enable_thinking=False
        )
        prompt = tokenizer(text, return_tensors="pt")
        ids = model.generate(**prompt, do_sample=False, max_new_tokens=30, temperature=None, top_p=None, top_k=None)
        expected = tokenizer.decode(ids[0, prompt.input_ids.shape[1] :], skip_special_tokens=True)
        options = ChatOptions(temperature=0, enable_thinking=False, max_tokens=30)
        _, said = told(list(chat.stream([{"role": "user", "content": asked}], options)))
        assert said == expected.lstrip("\r\n").removesuffix("\ufffd")


def test_greedy_thinking_is_refused_with_a_word_about_seeds(chat: LocalChat, caplog: Any) -> None:
    prompt = chat._prompt(HELLO, ChatOptions())
    with caplog.at_level(logging.WARNING):
        sampling = chat._sampling(prompt, ChatOptions(temperature=0))
    assert sampling.temperature == 0.6
    assert "set a seed" in caplog.text
    caplog.clear()
    plain = ChatOptions(temperature=0, enable_thinking=False)
    assert chat._sampling(chat._prompt(HELLO, plain), plain).temperature == 0
    assert not caplog.text


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("model", ["Qwen/Qwen3-8B", "Qwen/Qwen3.5-4B", "my-own-finetune", "Qwen/QwQ-32B"])
def test_sampling_is_the_cards_where_nothing_is_set(chat: LocalChat, model: str, thinking: Any) -> None:
    named = LocalChat(model)
    named._texts = chat._texts
    options = ChatOptions(enable_thinking=thinking)
    card = recommended_sampling(model, thinking=thinking) or recommended_sampling("Qwen/Qwen3-8B", thinking=thinking)
    assert named._sampling(chat._prompt(HELLO, options), options) == card
    own = ChatOptions(enable_thinking=thinking, temperature=1.1, top_k=0, min_p=0.1, presence_penalty=0.5)
    assert card
    assert named._sampling(chat._prompt(HELLO, own), own) == Sampling(1.1, card.top_p, 0, 0.1, 0.5)


# Leaving, waiting, sharing


class Passes:
    """Counts the forward passes of a model."""

    def __init__(self, chat: LocalChat) -> None:
        self.count = 0
        self.threads: set[int] = set()
        self._hook = chat._network.get()._model.register_forward_hook(self._note)

    def _note(self, *_: object) -> None:
        self.count += 1
        self.threads.add(threading.get_ident())

    def __enter__(self) -> Passes:
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()


def test_a_stream_that_is_left_stops_the_model(undecided: LocalChat) -> None:
    with Passes(undecided) as passes:
        before = threading.active_count()
        stream = undecided.stream(HELLO, ChatOptions(seed=1, max_tokens=100))
        next(stream)
        so_far = passes.count
        stream.close()  # type: ignore[attr-defined]
        assert list(stream) == []
        assert passes.count == so_far < 20
        assert threading.active_count() == before


async def test_a_task_that_is_cancelled_stops_the_model(undecided: LocalChat) -> None:
    begun = asyncio.Event()

    async def listen() -> None:
        async for _ in undecided.astream(HELLO, ChatOptions(seed=1, max_tokens=2000)):
            begun.set()

    with Passes(undecided) as passes:
        task = asyncio.ensure_future(listen())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        at_the_end = passes.count + 1  # one may be running
        await asyncio.sleep(0.1)
        assert passes.count <= at_the_end < 1000
    options = ChatOptions(seed=2, max_tokens=5)
    assert told([piece async for piece in undecided.astream(HELLO, options)]) == told(
        list(undecided.stream(HELLO, options))
    )


async def test_the_event_loop_goes_on_while_the_model_computes(chat: LocalChat) -> None:
    steps: list[str] = []

    async def tick() -> None:
        while True:
            await asyncio.sleep(0)
            steps.append("tick")

    ticking = asyncio.ensure_future(tick())
    with Passes(chat) as passes:
        stream = chat.astream(HELLO)
        while await anext(stream, None):
            steps.append("piece")
        assert threading.get_ident() not in passes.threads
    ticking.cancel()
    places = [place for place, step in enumerate(steps) if step == "piece"]
    assert len(places) > 5
    assert all("tick" in steps[first:second] for first, second in itertools.pairwise(places))


async def test_asynchronous_streams_take_turns(chat: LocalChat) -> None:
    order: list[int] = []

    async def listen(number: int) -> str:
        pieces: list[Piece] = []
        async for piece in chat.astream(HELLO, ChatOptions(enable_thinking=True)):
            order.append(number)
            pieces.append(piece)
        return told(pieces)[1]

    assert list(await asyncio.gather(listen(0), listen(1))) == [ANSWER, ANSWER]
    changes = sum(first != second for first, second in itertools.pairwise(order))
    assert changes > len(order) // 2


def test_one_engine_serves_two_event_loops_and_several_threads(chat: LocalChat) -> None:
    async def ask() -> tuple[str, str]:
        return told([piece async for piece in chat.astream(HELLO)])

    assert [asyncio.run(ask()), asyncio.run(ask())] == [(THOUGHT, ANSWER)] * 2
    found: list[tuple[str, str]] = []
    threads = [threading.Thread(target=lambda: found.append(told(list(chat.stream(HELLO))))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == [(THOUGHT, ANSWER)] * 3


def test_a_pickled_engine_is_equal_and_loads_for_itself(chat: LocalChat) -> None:
    list(chat.stream(HELLO, ChatOptions(max_tokens=1)))
    data = pickle.dumps(chat)
    assert len(data) < 2000
    twin = pickle.loads(data)
    assert twin.settings == chat.settings
    assert told(list(twin.stream(HELLO))) == (THOUGHT, ANSWER)


def test_counting_tokens_needs_no_weights(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, QWEN3_STYLE_TEMPLATE)
    chat = LocalChat(str(tmp_path))
    assert chat.count_tokens(HELLO) == 10
    assert len(chat.token_ids("Hello <|im_end|>")) > 2
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        next(chat.stream(HELLO))


def test_nothing_of_the_callers_is_changed(chat: LocalChat) -> None:
    messages, tools = json.loads(json.dumps([LOOP, [GET_WEATHER]]))
    list(chat.stream(messages, ChatOptions(tools=tools, max_tokens=2)))
    assert [messages, tools] == [LOOP, [GET_WEATHER]]


# What is refused


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"enable_thinking": "false"}, TypeError, "True, False or None"),
        ({"temperature": -0.1}, ValueError, "0 to 2"),
        ({"top_p": 0}, ValueError, "above 0"),
        ({"top_p": 1.1}, ValueError, "0 to 1"),
        ({"top_k": -1}, ValueError, "top_k=-1"),
        ({"top_k": 1.5}, TypeError, "whole number"),
        ({"max_tokens": 0}, ValueError, "max_tokens=0"),
        ({"max_tokens": True}, TypeError, "whole number"),
        ({"thinking_budget": 0}, ValueError, "thinking_budget=0"),
        ({"thinking_budget": 2.5}, TypeError, "whole number"),
        ({"min_p": "x"}, TypeError, "a number"),
        ({"stop": [""]}, ValueError, "must not be empty"),
        ({"tools": [PLACE_TOOL], "tool_choice": "f"}, ValueError, r"'f', and the tools are \['Place'\]"),
        ({"tool_choice": "required"}, ValueError, r"the tools are \[\]"),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        ChatOptions(**options)


def test_a_conversation_that_is_too_long_is_refused(tmp_path: Path) -> None:
    small = Rehearsal(tmp_path, hidden_size=64, max_position_embeddings=32)
    small.learn(HELLO, "a")
    chat = LocalChat(str(small.save()), dtype="float32")
    with pytest.raises(ValueError, match="window of 32: shorten it"):
        next(chat.stream([{"role": "user", "content": "long " * 40}]))
    pieces = list(chat.stream(HELLO, ChatOptions(temperature=2.0, top_k=0, seed=3, enable_thinking=False)))
    assert finish_of(pieces).prompt_tokens + finish_of(pieces).completion_tokens <= 32


def test_models_that_cannot_chat_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='no "mini" chat model'):
        next(LocalChat("mini").stream(HELLO))
    with pytest.raises(FileNotFoundError, match="neither a folder"):
        next(LocalChat("./nowhere").stream(HELLO))
    reranker = Path(__file__).parent.parent / "qwen3_core" / "mini" / "reranker"
    with pytest.raises(ValueError, match="leaves out what users say"):
        next(LocalChat(str(reranker)).stream(HELLO))
    with pytest.raises(ValueError, match="embedding or reranking"):
        Network(reranker)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ValueError, match="'llama'"):
        Network(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
    with pytest.raises(FileNotFoundError, match="no weights"):
        Network(tmp_path)
