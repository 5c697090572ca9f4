"""A chat server that answers by a script and enforces the rules of the real one; each dialect is a subclass.

A subclass says in `ScriptedChat.judge` what the server refuses, drops and hands to the chat template, and in the hooks
of `Shapes` how answers look on the wire. Everything that goes in is recorded.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from threading import Lock
from typing import Any

from scripted_chat import faults as faults_
from scripted_chat.model import Brain, Family, Message, Plan, Reply, Said, Seen, compose, family_of, text_of, tokens
from scripted_chat.rules import Refusal, cut, plan_for
from scripted_chat.shapes import Shapes
from scripted_chat.wire import Answer, Request, clients, serving, shred


@dataclass
class ScriptedChat(Shapes):
    """What it will say, and what it was asked.

    Attributes:
        reasoning: What it thinks, where it thinks.
        content: What it answers.
        tool_calls: What it calls, ``{"name": ..., "args": {...}}`` each, once: not right after a tool's result.
        brain: Answers in place of the three above.
        models: The names that it serves; any name while empty.
        family: How the model thinks; by default what its name says.
        seed: Chooses where texts and bytes are cut.
        faults: What goes wrong, one for each request, in turn; then all is well.
        pause: Seconds between two pieces on the wire.
        pings: Whether comments come between the events of a stream, as from proxies that keep a connection open.
        requests: The bodies that came.
        headers: The headers that came, names in lower case.
        plans: What it did with the requests that it accepted; `seen` is the last one's.
        paths: The paths that were asked.
    """

    reasoning: str = "First I compare the digits.\nThen I know."
    content: str = "9.9 is larger."
    tool_calls: Sequence[Mapping[str, Any]] = ()
    brain: Brain | None = None
    models: tuple[str, ...] = ()
    family: Family | None = None
    seed: int = 0
    faults: Sequence[faults_.Fault] = ()
    pause: float = 0.0
    pings: bool = False
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    _one_at_a_time: Any = field(default_factory=Lock, init=False, repr=False, compare=False)

    # --- what tests use

    def clients(self) -> dict[str, Any]:
        """Return ``http_client`` and ``http_async_client`` with this server at the other end."""
        return clients(self.answer)

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve on a loopback port; yields the base URL, with the real server's path."""
        with serving(self.answer) as root:
            yield root + "/" + self.url.split("/", 3)[3]

    @property
    def last(self) -> dict[str, Any]:
        """The last request's body."""
        return self.requests[-1]

    @property
    def seen(self) -> Seen:
        """What reached template and sampler of the last accepted request."""
        return self.plans[-1].seen

    @property
    def dropped(self) -> tuple[str, ...]:
        """The fields of the last accepted request that the server did not look at."""
        return self.plans[-1].dropped

    # --- what a dialect says

    def judge(self, body: dict[str, Any]) -> Plan:
        """Refuse a body as the real server does, or say what the model does with it.

        Raises:
            Refusal: The server answers with an error.
        """
        raise NotImplementedError

    def error(self, refusal: Refusal) -> dict[str, Any]:
        """Return the body of an error."""
        kind = refusal.kind or "invalid_request_error"
        return {"error": {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code}}

    def stream_error(self, message: str) -> dict[str, Any]:
        """Return the event of an error inside a stream."""
        return self.error(Refusal(message, 500, kind="InternalServerError", code=500))

    def refuse(self, body: Mapping[str, Any], refusal: Refusal) -> Answer:
        """Return the answer to a body that is refused."""
        return self.json(refusal.status, self.error(refusal))

    def template_messages(self, messages: Sequence[Message]) -> list[Message]:
        """Return the messages as the chat template gets them, reasoning under ``reasoning_content``."""
        return [{key: value for key, value in message.items() if key != "reasoning"} for message in messages]

    # --- the request's way through

    def answer(self, request: Request) -> Answer:
        """Answer one request; what is recorded stays in step where several come at once."""
        with self._one_at_a_time:
            return self._answer(request)

    def _answer(self, request: Request) -> Answer:
        if request.method == "GET":
            page = self.pages().get(request.path)
            return self.json(404, {"detail": "Not Found"}) if page is None else self.json(200, page)
        self.headers.append(request.headers)
        self.paths.append(request.path)
        body = json.loads(request.body)
        self.requests.append(body)
        place = len(self.requests) - 1
        fault = self.faults[place] if place < len(self.faults) else None
        if isinstance(fault, faults_.Status):
            return self._status(fault)
        if isinstance(fault, faults_.Empty):
            return Answer(200, {"content-type": "application/json"}, ())
        try:
            self._route(request)
            plan = self.judge(body)
        except Refusal as refusal:
            return self.refuse(body, refusal)
        self.plans.append(plan)
        answer = self._stream(body, plan, fault) if body.get("stream") else self._whole(body, plan)
        return replace(answer, delay=fault.seconds) if isinstance(fault, faults_.Delay) else answer

    def plan(self, body: Mapping[str, Any], **wishes: Any) -> Plan:
        """Return `plan_for` a body; a dialect refines it with `dataclasses.replace`."""
        return plan_for(body, self.template_messages(body["messages"]), self.reads, family=self.family, **wishes)

    def known_family(self, body: Mapping[str, Any]) -> Family:
        """Return how the model of a request thinks."""
        return self.family or family_of(body["model"])

    def _route(self, request: Request) -> None:
        if request.path != "/" + self.url.split("/", 3)[3] + "/chat/completions":
            raise self.no_route()
        wanted = json.loads(request.body).get("model")
        if self.models and wanted not in self.models:
            raise self.unknown_model(wanted)

    def require_key(self, key: str, text: str, **rest: Any) -> None:
        """Raise a 401 where a key is wanted and another came, or none."""
        if key and self.headers[-1].get("authorization") != f"Bearer {key}":
            raise Refusal(text, 401, **rest)

    def no_route(self) -> Refusal:
        """Return the error for a path that is not there."""
        return Refusal("Not Found", 404)

    def unknown_model(self, model: str) -> Refusal:
        """Return the error for a model that is not served."""
        return Refusal(f"The model `{model}` does not exist.", 404, kind="NotFoundError", code=404)

    def _say(self, body: dict[str, Any], plan: Plan) -> Said:
        if self.brain is not None:
            return compose(plan, self.brain(body["messages"], list(plan.tools), body))
        after_tool = body["messages"][-1].get("role") == "tool"
        calls = () if after_tool or not plan.tools else self.tool_calls
        return compose(plan, Reply("" if calls else self.content, self.reasoning, calls))

    def _counts(self, body: Mapping[str, Any], plan: Plan, said: Said) -> dict[str, Any]:
        prompt = sum(len(tokens(text_of(message.get("content")))) for message in body["messages"])
        called = sum(len(tokens(json.dumps(call))) for call in said.calls)
        return self.usage(plan, prompt, len(tokens(said.reasoning)), len(tokens(said.content)) + called)

    def _texts(self, plan: Plan, said: Said, family: Family, *, stream: bool) -> tuple[str, str]:
        if plan.separate or not plan.thinks:
            return self.dress(plan, said, stream=stream)
        closed = "" if said.cut == "reasoning" else "\n</think>\n\n"
        return "", ("" if family.prefilled else "<think>\n") + said.reasoning + closed + said.content

    def _head(self, body: Mapping[str, Any], kind: str) -> dict[str, Any]:
        return {"id": f"chatcmpl-{len(self.requests)}", "object": kind, "created": 1, "model": body["model"]}

    def _whole(self, body: dict[str, Any], plan: Plan) -> Answer:
        choices = []
        for index in range(plan.n):
            said = self._say(body, plan)
            reasoning, content = self._texts(plan, said, self.known_family(body), stream=False)
            message = self.message(plan, said, reasoning, content)
            choices.append({"index": index, "message": message, "finish_reason": self.finish(plan, said)})
        counts = self._counts(body, plan, said)
        return self.json(200, {**self._head(body, "chat.completion"), "choices": choices, "usage": counts})

    def _events(self, body: dict[str, Any], plan: Plan, chance: Random) -> Iterator[dict[str, Any]]:
        head = self._head(body, "chat.completion.chunk")
        said = Said("", "", ())

        def event(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
            return self.chunk(head, [{"index": index, "delta": delta, "finish_reason": finish}])

        for index in range(plan.n):
            said = self._say(body, plan)
            if (first := self.first_delta()) is not None:
                yield event(index, first)
            texts = self._texts(plan, said, self.known_family(body), stream=True)
            for name, text in zip((self.reasoning_field, "content"), texts, strict=True):
                for piece in cut(text, chance):
                    yield event(index, self.text_delta(name, piece))
            for place, call in enumerate(said.calls):
                for delta in self.call_deltas(place, call, chance):
                    yield event(index, self.calls_delta(delta))
            last = {"index": index, "delta": self.last_delta(), "finish_reason": self.finish(plan, said)}
            yield self.chunk(head, [last], self._counts(body, plan, said) if self.counts_with_finish else None)
        if (body.get("stream_options") or {}).get("include_usage") and not self.counts_with_finish:
            yield self.chunk(head, [], self._counts(body, plan, said))

    def _stream(self, body: dict[str, Any], plan: Plan, fault: faults_.Fault | None) -> Answer:
        chance = Random(f"{self.seed}-{len(self.requests)}")
        events = [json.dumps(event, ensure_ascii=False) for event in self._events(body, plan, chance)]
        if self.ends_with_done:
            events.append("[DONE]")
        if isinstance(fault, faults_.ErrorEvent):
            events = [*events[: fault.events], json.dumps(self.stream_error(fault.message))]
        if isinstance(fault, faults_.Cut):
            events = events[: fault.events]
        broken = isinstance(fault, faults_.Cut) and not fault.clean
        return replace(self.sse(events, chance), broken=broken)

    def sse(self, events: Iterable[str], chance: Random) -> Answer:
        """Return server-sent events, their bytes cut at random places."""
        between = ": ping\n\n" if self.pings else ""
        text = "".join(f"{between}data: {event}\n\n" for event in events)
        headers = {"content-type": "text/event-stream; charset=utf-8", "server": self.software}
        return Answer(200, headers, shred(text, chance), pause=self.pause)

    def _status(self, fault: faults_.Status) -> Answer:
        refusal = self.trouble(fault.status)
        if fault.page:
            return Answer(fault.status, {"content-type": "text/html"}, (faults_.PAGE,))
        answer = self.json(fault.status, fault.body or self.error(refusal))
        if fault.retry_after is None:
            return answer
        return replace(answer, headers={**answer.headers, "retry-after": f"{fault.retry_after:g}"})

    def trouble(self, status: int) -> Refusal:
        """Return the error that the server sends with a status of its own, such as 429 or 503."""
        texts = {429: "Rate limit reached", 500: "Internal Server Error", 503: "Service Unavailable"}
        return Refusal(texts.get(status, "Bad Gateway"), status, kind="server_error", code=status)

    def json(self, status: int, body: Any) -> Answer:
        """Return a JSON body."""
        headers = {"content-type": "application/json", "server": self.software}
        return Answer(status, headers, (json.dumps(body, ensure_ascii=False).encode(),))
