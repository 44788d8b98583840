"""Prompts, a model that answers as it is told, and chains over it: what the engine's tests share."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from constitution import Constitution
from constitution.schema import Principle, Proposition
from engine.chains import ReviseChain
from engine.comparing import CompareChain
from engine.model import Choice, Completion, Model, Sampling
from engine.records import Call, Prompt, Response
from engine.settings import CompareSettings, ReviseSettings
from prompts.messages import Message
from prompts.rendering import PromptSet

Say = Callable[[Sequence[Message], Sampling], str]
Weigh = Callable[[Sequence[Message], Sequence[str]], Sequence[float]]


def say_hash(messages: Sequence[Message], sampling: Sampling) -> str:
    """A different text for every question and seed."""
    return f"text {hash((messages[-1]['content'], sampling.seed)) % 100_000}"


def shown(messages: Sequence[Message]) -> tuple[str, ...]:
    """The responses that a judge prompt shows, in their order: two, or one."""
    turn = next(m["content"] for m in reversed(messages) if m["role"] == "user" and "<response>" in m["content"])
    return tuple(re.findall(r"<response>\n(.*?)\n</response>", turn, flags=re.DOTALL))


def prefer_longer(messages: Sequence[Message], options: Sequence[str]) -> Sequence[float]:
    """Believes 0.8 in the longer of the two answers shown, wherever it stands."""
    first, second = shown(messages)
    return (0.8, 0.2) if len(first) > len(second) else (0.2, 0.8)


@dataclass
class ToldModel:
    """A Model whose answers are two functions. `asked` keeps every conversation it was sent."""

    say: Say = say_hash
    weigh: Weigh = lambda messages, options: (0.6, 0.3)
    name: str = "told"
    revision: str = "1"
    context_window: int = 100_000
    asked: list[tuple[Message, ...]] = field(default_factory=list)

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        self.asked.append(tuple(messages))
        await asyncio.sleep(0)
        return Completion(self.say(messages, sampling), "stop", prompt_tokens=10, completion_tokens=5, cached_tokens=4)

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        self.asked.append(tuple(messages))
        await asyncio.sleep(0)
        shares = self.weigh(messages, options)
        logs = tuple(-math.inf if share == 0 else math.log(share) for share in shares)
        return Choice(logs, prompt_tokens=10, cached_tokens=8)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return 10

    def check_options(self, options: Sequence[str], messages: Sequence[Message] = ()) -> None:
        pass

    async def close(self) -> None:
        pass


def principle(name: str, **columns: object) -> Principle:
    """A principle with every text, each naming the principle."""
    texts = {
        "critique": f"Find what is wrong by {name}.",
        "revision": f"Mend it by {name}.",
        "comparison": f"Which is better by {name}?",
    }
    return Principle.model_validate({"id": name, **texts, **columns})


def constitution(*principles: Principle) -> Constitution:
    """A constitution of these principles, or of three plain ones."""
    chosen = principles or tuple(principle(name) for name in ("kind", "safe", "honest"))
    return Constitution(name="test", version="1", principles=list(chosen))


def bad_check(name: str, bad_answer: str = "yes") -> Proposition:
    """A proposition that speaks against an answer where it is answered with `bad_answer`."""
    return Proposition.model_validate({"id": name, "question": f"Does it do {name}?", "bad_answer": bad_answer})


def prompt(text: str = "How do I whistle?", index: int = 0) -> Prompt:
    """A one-turn prompt."""
    return Prompt.of([{"role": "user", "content": text}], index=index, source=f"test:{index}")


def prompts(count: int) -> list[Prompt]:
    """Different one-turn prompts, in input order."""
    return [prompt(f"Question {number}?", number) for number in range(count)]


def response(text: str, sample: int = 0) -> Response:
    """An answer with a plausible call."""
    call = Call("respond", "0" * 16, "told", "1", 1, 1.0, 1.0, 256, 10, 4, 5, "stop")
    return Response(sample=sample, text=text, call=call)


def revise_chain(model: Model, law: Constitution | None = None, **settings: object) -> ReviseChain:
    """A chain with one model in every role."""
    return ReviseChain(
        responder=model,
        critic=model,
        reviser=model,
        prompts=PromptSet.load(use_few_shots=False),
        constitution=law or constitution(),
        settings=ReviseSettings.model_validate(settings),
        seed=7,
    )


def compare_chain(model: ToldModel, law: Constitution | None = None, **settings: object) -> CompareChain:
    """A chain with one model as responder and judge."""
    return CompareChain(
        responder=model,
        judge=model,
        prompts=PromptSet.load(use_few_shots=False),
        constitution=law or constitution(),
        settings=CompareSettings.model_validate(settings),
        seed=7,
    )
