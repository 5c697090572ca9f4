"""What a chat server is found to be, and what is advised; each server's script answers as the real one does."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from scripted_chat import SERVERS, ScriptedChat, Sglang, Status, Vllm
from typer.testing import CliRunner

from qwen3_cli import app
from qwen3_core.chat.doctor import diagnose
from qwen3_core.thinking import DIALECTS

ALONE = sorted(set(SERVERS) - {"dashscope", "openai"})  # told by the host, and by nothing


def asked(script: ScriptedChat, **how: Any) -> Any:
    with script.serve() as url, openai.OpenAI(base_url=url, api_key=script.key, max_retries=0) as client:
        return diagnose(client, url, **how)


@pytest.mark.parametrize("word", ALONE)
def test_servers_are_told_apart_by_what_only_they_answer(word: str) -> None:
    server = SERVERS[word](models=("Qwen/Qwen3-8B",))
    found = asked(server)
    assert (found.identity.server, found.model, found.family) == (word, "Qwen/Qwen3-8B", "Qwen3")
    on, off = found.trials
    assert (on.wanted, off.wanted) == ("thinking on", "thinking off")
    assert not on.error
    assert on.reasoning_in == server.reasoning_field
    assert on.reasoning == len(server.reasoning)
    assert on.answer == len(server.content)
    assert not off.error
    assert off.reasoning == 0
    assert on.first_token is not None
    assert [line for line in found.advice if word in line], "on a port that says nothing the server has to be named"


def test_a_server_that_is_not_known_is_asked_in_the_shared_way() -> None:
    class Stranger(Vllm):
        def pages(self) -> dict[str, Any]:
            return {"/v1/models": {"data": [{"id": "Qwen/Qwen3-8B", "owned_by": "somebody"}]}}

    found = asked(Stranger())
    assert found.identity.server == found.inferred == "auto"
    assert [trial.reasoning for trial in found.trials] == [len(Stranger().reasoning), 0]
    assert not found.advice


def test_a_named_server_is_believed() -> None:
    found = asked(Vllm(models=("Qwen/Qwen3-8B",)), server="ollama")
    assert found.trials[1].sent == {"reasoning_effort": "none"}


def test_a_model_that_has_no_choice_is_asked_as_it_is() -> None:
    found = asked(Vllm(models=("Qwen/Qwen3-4B-Thinking-2507",)))
    assert [(trial.wanted, trial.sent) for trial in found.trials] == [("as it is", {})]


def test_tags_in_the_text_are_seen_and_a_parser_advised() -> None:
    server = Sglang(models=("Qwen/Qwen3-8B",), reasoning_parser=False)
    found = asked(server)
    assert found.trials[0].reasoning_in == "<think> in the text"
    assert found.trials[0].answer == len(server.content)
    assert any("--reasoning-parser" in line for line in found.advice)


def test_a_refusal_is_shown_with_what_to_do() -> None:
    found = asked(Sglang(models=("Qwen/Qwen3-8B",), faults=[Status(401)]))
    assert found.trials[0].error
    assert "Check api_key" in found.trials[0].error
    assert not found.trials[1].error
    assert any(line.startswith("With thinking on the server said") for line in found.advice)


def test_no_model_listed_and_none_named() -> None:
    class Silent(Vllm):
        def pages(self) -> dict[str, Any]:
            return {}

    with pytest.raises(ValueError, match="name one"):
        asked(Silent())


def test_a_server_that_is_down() -> None:
    client = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="x", max_retries=0)
    with client, pytest.raises(openai.APIConnectionError):
        diagnose(client, "http://127.0.0.1:9/v1")


def test_the_command_prints_what_it_found() -> None:
    server = Vllm(models=("Qwen/Qwen3-8B",))
    with server.serve() as url:
        result = CliRunner().invoke(app, ["doctor", "--chat", url], env={"COLUMNS": "200"})
        again = CliRunner().invoke(app, ["doctor", "--chat", url, "--json"])
    assert result.exit_code == 0, result.output
    assert 'server: "vllm"' in result.output
    assert "enable_thinking" in result.output
    assert 'Pass server="vllm"' in result.output
    found = json.loads(again.stdout)
    assert found["identity"]["server"] == "vllm"
    assert [trial["reasoning_in"] for trial in found["trials"]] == ["reasoning", None]


def test_the_command_says_when_the_server_refused() -> None:
    server = Vllm(models=("Qwen/Qwen3-8B",), faults=[Status(400)] * 2)
    with server.serve() as url:
        result = CliRunner().invoke(app, ["doctor", "--chat", url], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert "the server said" in result.output


def test_every_server_that_can_be_named_can_be_found_out_or_is_told_by_its_url() -> None:
    assert set(DIALECTS) == set(SERVERS)
