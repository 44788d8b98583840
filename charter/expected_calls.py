"""What a stage asks of its models, counted without any: calls and tokens a prompt.

The stage's own chains run on a few prompts, over models that count. So few-shots, layouts, rounds, orders and
propositions are those of the recipe. Three things are assumed: characters a token, how much of its limit an answer
takes, and that the prefix cache holds whatever was sent before, in whole blocks.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from charter.evaluating import load_constitutions
from charter.evaluating import prompt_set as asking_of
from engine.backends.spec import ModelSpec
from engine.chains import Chain
from engine.cost import Usage, usage_of
from engine.model import Choice, Completion, Sampling
from engine.records import Call, Comparison, Prompt, Response, as_table
from evaluation.judgements import group_of
from evaluation.policies import (
    Answered,
    EvaluationSettings,
    JudgeChain,
    JudgedAnswer,
    Judging,
    PairChain,
    constitutions_of,
)
from prompts.messages import Message

CHARACTERS_A_TOKEN = 4
BLOCK_TOKENS = 16
"""What vLLM caches at a time on a GPU."""
UNSEEN = 4
"""Prompts that run first and do not count: the few-shots are not cached yet."""


@dataclass(frozen=True)
class Asked:
    """What one step asks of one model for a prompt, on average. `cached_tokens` are part of `prompt_tokens`."""

    step: str
    model: str
    calls: float
    prompt_tokens: float
    cached_tokens: float
    completion_tokens: float


@dataclass
class CountingModel:
    """A model that counts. Its answers are filling, and differ by seed; it prefers the first option."""

    name: str
    answer_share: float
    """What an answer takes of its limit."""
    revision: str = ""
    context_window: int = sys.maxsize
    cached: set[int] = field(default_factory=set)
    """Hashes of all that was sent up to the end of each block."""

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """As many tokens as are expected."""
        prompt, cached = self._read(messages)
        tokens = max(1, round(sampling.max_tokens * self.answer_share))
        text = (f"{sampling.seed:08x} " * tokens)[: tokens * CHARACTERS_A_TOKEN]
        return Completion(text, "stop", prompt, tokens, cached)

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        """The first option, nearly."""
        prompt, cached = self._read(messages)
        return Choice((-0.1, *[-5.0] * (len(options) - 1)), prompt, cached)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Characters, divided."""
        return len(_sent(messages)) // CHARACTERS_A_TOKEN + 1

    def check_options(self, options: Sequence[str], messages: Sequence[Message] = ()) -> None:
        """Every option can be read."""

    async def close(self) -> None:
        """Nothing is held."""

    def _read(self, messages: Sequence[Message]) -> tuple[int, int]:
        """Tokens of the prompt, and how many of them are cached."""
        text, known, before, all_known = _sent(messages), 0, 0, True
        for start in range(0, len(text) - BLOCK_TOKENS * CHARACTERS_A_TOKEN, BLOCK_TOKENS * CHARACTERS_A_TOKEN):
            before = hash((before, text[start : start + BLOCK_TOKENS * CHARACTERS_A_TOKEN]))
            all_known = all_known and before in self.cached
            known += BLOCK_TOKENS * all_known
            self.cached.add(before)
        return self.count_tokens(messages), known


def _sent(messages: Sequence[Message]) -> str:
    """A conversation as a chat template might write it."""
    return "".join(f"<|{message['role']}|>\n{message['content']}<|end|>\n" for message in messages)


def counting_models(specs: Iterable[ModelSpec], answer_share: float) -> dict[str, CountingModel]:
    """A model that counts in place of each, by its name."""
    return {spec.model: CountingModel(spec.model, answer_share) for spec in specs}


def rows_of(chain: Chain, prompts: Sequence[Prompt]) -> list[list[Any]]:
    """The rows of each prompt, one prompt after another."""

    async def run() -> list[list[Any]]:
        return [list(await chain.run(prompt)) for prompt in prompts]

    return asyncio.run(run())


def asked_a_prompt(rows: Sequence[Sequence[Any]], record: type[Any]) -> list[Asked]:
    """What the rows asked, a prompt, by step and model. The first prompts do not count."""
    counted = rows[UNSEEN:]
    usage = usage_of(as_table([row for each in counted for row in each], record))
    return [_mean(step, model, each, len(counted)) for (step, model), each in usage.items() if each.calls]


def _mean(step: str, model: str, usage: Usage, prompts: int) -> Asked:
    return Asked(
        step=step,
        model=model,
        calls=usage.calls / prompts,
        prompt_tokens=usage.prompt_tokens / prompts,
        cached_tokens=usage.cached_tokens / prompts,
        completion_tokens=usage.completion_tokens / prompts,
    )


def calibrated(asked: Sequence[Asked], bill: Mapping[str, Any], prompts: int, *, same_settings: bool) -> list[Asked]:
    """The same with a finished run's tokens a call, and its calls too where the stage had the `same_settings`. Steps
    that the run did not take stay as they are."""
    measured: dict[str, Usage] = {}
    for each in bill["steps"]:
        usage = measured.setdefault(each["step"], Usage())
        for name in ("calls", "prompt_tokens", "cached_tokens", "completion_tokens"):
            setattr(usage, name, getattr(usage, name) + each[name])
    return [_calibrated(each, measured.get(each.step), prompts, same_settings=same_settings) for each in asked]


def _calibrated(asked: Asked, measured: Usage | None, prompts: int, *, same_settings: bool) -> Asked:
    if measured is None or not measured.calls:
        return asked
    calls = measured.calls / prompts if same_settings else asked.calls
    each = calls / measured.calls
    return Asked(
        step=asked.step,
        model=asked.model,
        calls=calls,
        prompt_tokens=measured.prompt_tokens * each,
        cached_tokens=measured.cached_tokens * each,
        completion_tokens=measured.completion_tokens * each,
    )


def judging_calls(
    settings: EvaluationSettings, prompts: Sequence[Prompt], answer_share: float
) -> dict[str, list[Asked]]:
    """What the judge is asked of every policy's answer to a prompt, and of every two policies' answers."""
    judge = settings.model_that_judges
    assert judge is not None
    model = counting_models([judge], answer_share)[judge.model]
    judging = Judging(
        settings, constitutions_of(load_constitutions(settings)), asking_of(settings), by="judge", oracle=None
    )
    tokens = max(1, round(settings.max_tokens * answer_share))
    known = [prompt for prompt in prompts if group_of(prompt.category)]
    sets = [(name, at) for at in settings.temperatures for name in settings.policies]
    answers = {
        prompt.item_id: [
            Answered(name, at, _answer(prompt, place, tokens)) for place, (name, at) in enumerate(sets)
        ]
        for prompt in known
    }  # fmt: skip
    first = {key: each[: len(settings.policies)] for key, each in answers.items()}
    judged = JudgeChain(judging.judge({"judge": model}), answers)
    found = {"03_judged": asked_a_prompt(rows_of(judged, known), JudgedAnswer)}
    if settings.pairing and len(settings.policies) > 1:
        compared = PairChain(judging.chains({"judge": model}), first, list(settings.policies), None)
        found["04_compared"] = asked_a_prompt(rows_of(compared, known), Comparison)
    return found


def _answer(prompt: Prompt, place: int, tokens: int) -> Response:
    text = (f"{prompt.item_id}{place} " * tokens)[: tokens * CHARACTERS_A_TOKEN]
    return Response(place, text, Call("respond", "", "", "", 0, 0.0, 1.0, tokens, 0, 0, tokens, "stop"))
