"""The openai backend against a server that misbehaves: refusals, retries, keys, and verdicts from few tokens."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from backends_for_tests import asked, user

from constitution.faults import BadInput, CharterError
from engine.backends import http_server
from engine.backends.http_server import Server, retry_after
from engine.backends.openai_server import (
    NEGLIGIBLE,
    Counter,
    OpenaiModel,
    read_listed,
    served,
    without_prefill,
)
from engine.backends.spec import ModelSpec
from engine.model import ModelError, ModelUnavailable, OptionsNotTokens, PromptTooLong, Sampling, TemplateRefused
from prompts.reading import BadAnswer, LowMass

KEY = "sk-proj-very-secret"
Answer = Callable[[httpx.Request], httpx.Response]


def spec_of(**fields: Any) -> ModelSpec:
    """An entry for a server that exists only in the test."""
    defaults = {"backend": "openai", "model": "judge", "base_url": "http://judge.test/v1", "prefill": "none"}
    return ModelSpec.model_validate(defaults | {"context_window": 1000} | fields)


def model_of(answer: Answer, **fields: Any) -> OpenaiModel:
    """A model whose server is a function."""
    spec = spec_of(**fields)
    return OpenaiModel(spec, Server(spec, httpx.MockTransport(answer)), Counter(spec), "unknown")


def said(text: str = "hello", reason: str = "stop", logprobs: Any = None) -> httpx.Response:
    """A chat completion."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": reason, "logprobs": logprobs}
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    return httpx.Response(200, json={"choices": [choice], "usage": usage})


def likeliest(**tokens: float) -> dict[str, Any]:
    """Log-probabilities of a first token, given as probabilities."""
    entries = [{"token": token, "logprob": math.log(p)} for token, p in tokens.items()]
    return {"content": [entries[0] | {"top_logprobs": entries}]}


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which are not slept."""
    pauses: list[float] = []
    plain = http_server.pause

    def noted(state: Any) -> float:
        pauses.append(plain(state))
        return 0.0

    monkeypatch.setattr(http_server, "pause", noted)
    return pauses


async def test_a_completion_carries_what_was_sent_and_billed() -> None:
    requests = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(json.loads(request.content))
        return said()

    model = model_of(answer)
    completion = await model.generate(user("hi \ud83d"), Sampling(temperature=0.5, stop=("\n",), seed=3, max_tokens=7))
    assert (completion.text, completion.prompt_tokens, completion.cached_tokens) == ("hello", 9, 4)
    assert requests[0] == {
        "model": "judge",
        "messages": [{"role": "user", "content": "hi \ufffd"}],
        "temperature": 0.5,
        "top_p": 1.0,
        "max_tokens": 7,
        "seed": 3,
        "stop": ["\n"],
    }
    await model.close()


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(429, text="slow down"),
        httpx.Response(500),
        httpx.Response(503, json={"error": {"message": "loading"}}),
        httpx.Response(200, text='{"choices": [{"mess'),
        httpx.Response(200, json={"detail": "?"}),
        httpx.ReadTimeout("late"),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("cut"),
    ],
    ids=lambda failure: str(getattr(failure, "status_code", failure)),
)
async def test_what_may_pass_is_sent_again(waits: list[float], failure: httpx.Response | Exception) -> None:
    tries = []

    def answer(request: httpx.Request) -> httpx.Response:
        tries.append(request)
        if len(tries) > 2:
            return said()
        if isinstance(failure, Exception):
            raise failure
        return failure

    model = model_of(answer)
    assert (await model.generate(user("hi"), Sampling())).text == "hello"
    assert len(tries) == 3
    assert waits[0] >= 0.5
    assert waits[1] >= 1.0


async def test_the_server_says_how_long_to_wait(waits: list[float]) -> None:
    answers = [httpx.Response(429, headers={"retry-after": "7"}), httpx.Response(503), said()]
    await model_of(lambda request: answers.pop(0)).generate(user("hi"), Sampling())
    assert waits[0] == 7.0
    assert waits[1] != 7.0


def test_retry_after_may_be_a_date_or_nonsense() -> None:
    assert retry_after(httpx.Response(429, headers={"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"})) == 0.0
    assert retry_after(httpx.Response(429, headers={"retry-after": "soon"})) is None
    assert retry_after(httpx.Response(429)) is None


async def test_a_server_that_stays_away_is_unavailable(waits: list[float]) -> None:
    tries = []

    def answer(request: httpx.Request) -> httpx.Response:
        tries.append(request)
        return httpx.Response(503, text="overloaded")

    with pytest.raises(ModelUnavailable, match="in 3 tries: status 503: overloaded"):
        await model_of(answer, retries=2).generate(user("hi"), Sampling())
    assert len(tries) == 3


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (400, "This model's maximum context length is 8192 tokens. However, you requested 9000", PromptTooLong),
        (400, "max_tokens=3000 cannot be greater than max_model_len=2048", PromptTooLong),
        (413, "context_length_exceeded", PromptTooLong),
        (400, "Conversation roles must alternate user/assistant/user/assistant/...", TemplateRefused),
        (422, "temperature is out of range", ModelError),
        (401, "Incorrect API key provided: " + KEY, BadInput),
        (403, "forbidden", BadInput),
        (404, "The model `judge` does not exist.", BadInput),
    ],
)
async def test_a_refusal_is_named_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, status: int, message: str, error: type[CharterError]
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    tries = []

    def answer(request: httpx.Request) -> httpx.Response:
        tries.append(request.headers["authorization"])
        return httpx.Response(status, json={"error": {"message": message, "code": status}})

    model = model_of(answer, api_key_env="JUDGE_KEY")
    with pytest.raises(error) as caught:
        await model.generate(user("hi"), Sampling())
    assert type(caught.value) is error
    assert tries == [f"Bearer {KEY}"]
    assert KEY not in str(caught.value) + repr(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert KEY not in repr(model._server) + repr(model) + repr(model._spec)


async def test_a_filtered_answer_is_no_completion() -> None:
    model = model_of(lambda request: said(reason="content_filter"))
    with pytest.raises(BadAnswer, match="content_filter"):
        await model.generate(user("hi"), Sampling())


async def test_a_verdict_is_read_from_the_likeliest_tokens() -> None:
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return said("A", logprobs=likeliest(**{"A": 0.6, " A": 0.1, "B": 0.2, "The": 0.05}))

    choice = await model_of(answer).choose(asked("Which? (A) x (B) y"), ("A", "B"))
    assert [math.exp(value) for value in choice.log_probabilities] == pytest.approx([0.7, 0.2])
    assert choice.cached_tokens == 4
    # Without a way to continue the assistant's message, the question itself asks for the option.
    assert bodies[0]["messages"] == without_prefill(asked("Which? (A) x (B) y"), ("A", "B"))
    assert bodies[0]["messages"][-1]["content"].endswith("Answer with A or B alone, and nothing before or after it.")
    assert (bodies[0]["max_tokens"], bodies[0]["logprobs"], bodies[0]["top_logprobs"]) == (1, True, 20)


def test_an_unlisted_option_is_impossible_only_where_its_bound_is_negligible() -> None:
    sure = [("A", math.log(0.9999)), ("The", math.log(0.00005))]
    assert read_listed(sure, ("A", "B"), exact=True) == pytest.approx([math.log(0.9999), -math.inf])
    unsure = [("A", math.log(0.9)), ("The", math.log(0.05))]
    with pytest.raises(BadAnswer, match=r"\['B'\] is not among the 2 likeliest tokens and may hold up to 0.05"):
        read_listed(unsure, ("A", "B"), exact=True)
    with pytest.raises(LowMass, match="'The' is first"):
        read_listed([("The", math.log(0.9)), ("An", math.log(0.05))], ("A", "B"), exact=True)
    assert 0 < NEGLIGIBLE <= 1e-2


def test_after_a_prefill_only_the_token_itself_counts() -> None:
    found = [("A", math.log(0.5)), (" A", math.log(0.2)), ("B", math.log(0.3))]
    assert read_listed(found, ("A", "B"), exact=True) == pytest.approx([math.log(0.5), math.log(0.3)])
    assert read_listed(found, ("A", "B"), exact=False) == pytest.approx([math.log(0.7), math.log(0.3)])


@pytest.mark.parametrize("logprobs", [None, {}, {"content": []}, {"content": [{"token": "A"}]}])
async def test_a_server_without_log_probabilities_cannot_judge(logprobs: Any) -> None:
    with pytest.raises(BadAnswer, match="no log-probabilities"):
        await model_of(lambda request: said("A", logprobs=logprobs)).choose(user("Which?"), ("A", "B"))


def vllm_server(request: httpx.Request) -> httpx.Response:
    """A vLLM that is too old for `logprob_token_ids`: options are asked one by one."""
    body = json.loads(request.content)
    if request.url.path == "/tokenize":
        return httpx.Response(200, json={"tokens": [ord(letter) for letter in body["messages"][-1]["content"]]})
    masses = {65: 0.7, 66: 1e-9}
    token = body.get("allowed_token_ids", [84])[0]
    entry = {"token": f"token_id:{token}", "logprob": math.log(masses.get(token, 0.2))}
    return said("T", logprobs={"content": [entry | {"top_logprobs": []}]})


async def test_an_older_vllm_is_asked_for_each_option_by_its_token() -> None:
    model = model_of(vllm_server, prefill="vllm")
    choice = await model.choose(asked("Which?"), ("A", "B"))
    assert [math.exp(value) for value in choice.log_probabilities] == pytest.approx([0.7, 1e-9])
    with pytest.raises(OptionsNotTokens, match="adds 4 tokens"):
        await model.choose(asked("Which?"), ("A", "Both"))


async def test_log_probabilities_that_are_not_raw_are_refused() -> None:
    def processed(request: httpx.Request) -> httpx.Response:
        answer = vllm_server(request)
        if request.url.path == "/tokenize":
            return answer
        return httpx.Response(
            200, text=answer.text.replace(str(math.log(0.7)), "0.0").replace(str(math.log(1e-9)), "0.0")
        )

    with pytest.raises(ModelError, match="not raw"):
        await model_of(processed, prefill="vllm").choose(asked("Which?"), ("A", "B"))


async def test_a_prefill_is_refused_where_the_server_cannot_continue_it() -> None:
    with pytest.raises(TemplateRefused, match="prefill: none"):
        await model_of(lambda request: said()).generate(asked("Which?"), Sampling())


async def test_the_served_models_are_compared_with_the_entry() -> None:
    def lists(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": [{"id": "other"}, {"id": "judge", "max_model_len": 77}]})

    spec = spec_of()
    assert (await served(spec, Server(spec, httpx.MockTransport(lists))))["max_model_len"] == 77
    with pytest.raises(BadInput, match="does not serve 'missing'; it serves judge, other"):
        await served(spec_of(model="missing"), Server(spec, httpx.MockTransport(lists)))
    assert await served(spec, Server(spec, httpx.MockTransport(lambda request: httpx.Response(404)))) == {}
    with pytest.raises(BadInput):
        await served(spec, Server(spec, httpx.MockTransport(lambda request: httpx.Response(401))))


async def test_no_more_requests_than_allowed_are_under_way() -> None:
    under_way, most = 0, 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return said()

    spec = spec_of(max_concurrency=3)
    model = OpenaiModel(spec, Server(spec, httpx.MockTransport(answer)), Counter(spec), "unknown")
    await asyncio.gather(*(model.generate(user(str(n)), Sampling()) for n in range(20)))
    assert most == 3


def test_tokens_are_estimated_where_nobody_counts_them() -> None:
    counter = Counter(spec_of())
    assert counter.count_tokens(user("x" * 40)) == 14
    counter.check_options(("A", "B"))
    with pytest.raises(OptionsNotTokens):
        counter.check_options(("A", "two words"))
    counter.close()
