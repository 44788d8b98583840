"""How a pair came to be: every question behind it as it was sent, made again from what the run froze.

The messages are not stored with each row: they follow from the run's templates, few-shots, constitution and recipe, all
of which the run folder holds. The template hash of each call says whether that still gives what was sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from charter.run import frozen_constitution, frozen_prompts, frozen_recipe
from constitution import Constitution
from engine.calls import under
from engine.records import Call, Check, Comparison, Vote
from engine.storage import Folder
from prompts.messages import Message
from prompts.rendering import PromptSet, Rendered

SIDES = {"a": "chosen", "b": "rejected"}


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a model and what is known of its answer. The last `own` messages are about this pair; few-shots
    come before them. `messages` is empty, and `missing` says why, where the question cannot be made again."""

    title: str
    messages: tuple[Message, ...]
    own: int
    answer: str
    call: Call | None
    missing: str = ""


class Provenance:
    """The questions of one run. Raises BadInput or StorageError where the folder lacks what they are made of."""

    def __init__(self, run: Folder) -> None:
        self.constitution: Constitution = frozen_constitution(run)
        self.prompts: PromptSet = frozen_prompts(run)
        asking = frozen_recipe(run).asking
        self.preamble = self.constitution.preamble if asking.preamble else ""

    def questions(self, row: Comparison) -> Iterator[Question]:
        """Everything that was asked about a comparison whose answer a is the chosen one, in a reader's order."""
        asked = self.prompts.respond(row.messages)
        for name, response in ((SIDES["a"], row.response_a), (SIDES["b"], row.response_b)):
            yield _question(name, asked, response.text, response.call, own=len(asked.messages))
        for vote in row.votes:
            yield from self._vote(row, vote)
        for check in row.checks:
            yield self._check(row, check)

    def _vote(self, row: Comparison, vote: Vote) -> Iterator[Question]:
        first, second = row.response_a.text, row.response_b.text
        if vote.order == "ba":
            first, second = second, first
        title = f"{vote.principle_id}, {SIDES[vote.order[0]]} shown as (A)"
        principle = next((each for each in self.constitution.principles if each.id == vote.principle_id), None)
        if principle is None or principle.hash != vote.principle_hash:
            missing = "the constitution in the folder has another text for this principle"
            yield Question(title, (), 0, verdict(vote), None, missing)
            return
        question = principle.comparison or ""
        calls = {call.step: call for call in vote.calls}
        if "reason" not in calls:
            asked = self.prompts.compare(row.messages, first, second, question)
            yield _question(title, under(self.preamble, asked), verdict(vote), calls.get("compare"))
            return
        asked = self.prompts.reason(row.messages, first, second, question)
        yield _question(f"{title}: reasoning", under(self.preamble, asked), vote.reasoning, calls["reason"])
        asked = self.prompts.reason_verdict(row.messages, first, second, question, vote.reasoning)
        reasons = 2  # the question, and the reasons as the assistant's turn
        yield _question(title, under(self.preamble, asked), verdict(vote), calls.get("compare"), own=reasons + 1)

    def _check(self, row: Comparison, check: Check) -> Question:
        title = f"{check.proposition_id} of {SIDES[check.response]}"
        said = check.fault if check.bad is None else f"bad with probability {check.bad:.3f}"
        asked = next((each for each in self.constitution.propositions() if each.id == check.proposition_id), None)
        if asked is None:
            return Question(title, (), 0, said, check.call, "the constitution in the folder does not have it")
        text = (row.response_a if check.response == "a" else row.response_b).text
        rendered = self.prompts.proposition(row.messages, text, asked.question)
        return _question(title, under(self.preamble, rendered), said, check.call)


def _question(title: str, asked: Rendered, answer: str, call: Call | None, own: int = 1) -> Question:
    if call is not None and call.template_hash != asked.template_hash:
        return Question(title, (), 0, answer, call, "the templates in the folder are not those it was asked with")
    begun = asked.messages[-1]["role"] == "assistant"
    return Question(title, asked.messages, own + begun, answer, call)


def verdict(vote: Vote) -> str:
    """What a vote says, with the log-probabilities behind it."""
    if vote.probability_a is None:
        return f"no verdict: {vote.fault}"
    raw = ", ".join(f"{value:.3f}" for value in vote.log_probabilities)
    mass = "" if vote.mass is None else f", which hold {vote.mass:.3f}"
    return f"chosen is better with probability {vote.probability_a:.3f} (log-probabilities of (A), (B): {raw}{mass})"
