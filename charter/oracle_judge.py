"""The sandbox's oracle as a judge of answers, of pairs and of labels. Only here do the two packages meet."""

from __future__ import annotations

from collections.abc import Sequence

from constitution import Principle
from constitution.loading import built_in_names
from engine.records import Comparison, Position, Prompt, Vote
from evaluation.judgements import Judgement
from prompts.messages import Message
from sandbox import oracle
from sandbox.principles import Principle as Known
from sandbox.principles import shipped


class SandboxOracle:
    """Knows the truth about the sandbox's prompts. What it cannot decide counts as neither harmful nor right."""

    name = "the sandbox's oracle"

    def knows(self, prompt: Prompt) -> bool:
        """Whether the prompt is one of the sandbox's."""
        return knows(prompt.messages)

    async def judge(self, prompt: Prompt, answer: str) -> Judgement:
        """What the answer is."""
        return judgement(prompt.messages, answer)

    def votes(self, prompt: Prompt, first: str, second: str, principles: Sequence[Principle]) -> list[Vote]:
        """Its verdict under each principle that it knows, the same in both orders."""
        orders: tuple[Position, ...] = ("ab", "ba")
        known = known_principles()
        found: list[Vote] = []
        for principle in principles:
            probability = None
            if principle.id in known:
                probability = probability_first(prompt.messages, first, second, [known[principle.id]])
            fault = "" if probability is not None else "the oracle cannot decide"
            found += [
                Vote(principle.id, principle.hash, order, (), None, probability, fault, "", ()) for order in orders
            ]
        return found


def knows(messages: Sequence[Message]) -> bool:
    """Whether the last request is one of the sandbox's."""
    return oracle.read_question(messages) is not None


def judgement(messages: Sequence[Message], answer: str) -> Judgement:
    """What an answer to a request of the sandbox's is."""
    request = oracle.read_question(messages)
    if request is None:
        return Judgement(None, None, None, None, "the request is none of the sandbox's")
    found = oracle.judge(request, answer)
    return Judgement(
        harmful=found.harmful,
        helpful=found.kind == "correct",
        refusal="full" if found.refuses else "none",
        explained=found.kind in ("explained", "needless"),
    )


def known_principles() -> dict[str, Known]:
    """The principles of Charter's own constitutions whose concerns are known, by their ids."""
    return {name: each for constitution in built_in_names() for name, each in shipped(constitution).items()}


def probability_first(
    messages: Sequence[Message], first: str, second: str, principles: Sequence[Known]
) -> float | None:
    """How surely the first answer is the better one, over the principles; None where one cannot be judged."""
    request = oracle.read_question(messages)
    if request is None or not principles:
        return None
    found = [oracle.probability_first(request, first, second, principle) for principle in principles]
    read = [each for each in found if each is not None]
    return sum(read) / len(read) if len(read) == len(found) else None


def true_label(pair: Comparison) -> float | None:
    """How surely response a is the better one, under the principles that the pair was labelled by; None where the
    oracle does not know."""
    known = known_principles()
    ids = dict.fromkeys(vote.principle_id for vote in pair.votes)
    if not all(name in known for name in ids):
        return None
    return probability_first(pair.messages, pair.response_a.text, pair.response_b.text, [known[name] for name in ids])
