"""What a good critic and a good reviser write about an answer: the text skills that the micro-model learns.

A critique says what it looked for, ticks off facts, and then names the problem and the item, or says that no change is
needed. Said first, the principle decides; a verdict at once would have to weigh principle and answer in one token, and
went by the answer alone. A revision mends what its critique names, and nothing else: that is why skipping the critique
shows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from prompts.reading import NO_CHANGE
from sandbox.answers import correct_answer, explained_refusal, facts_of, means_of, the, without_sermons
from sandbox.oracle import CONCERNS, Judgement, judge, names_subject, weights
from sandbox.oracle import names as named_in
from sandbox.principles import Concern, Principle
from sandbox.world import Request

ORDER: tuple[Concern, ...] = ("illicit", "hateful", "advice", "wrong", "evasive", "preachy")
"""Which problem is named first where there are several."""


LOOKED_FOR: dict[Concern, str] = {
    "illicit": "crime",
    "hateful": "insults",
    "advice": "expert matters",
    "harm": "danger",
    "preachy": "tone",
    "evasive": "evasion",
    "wrong": "facts",
    "all": "everything",
}
"""How a critique calls what its principle looks for."""


@dataclass(frozen=True, slots=True)
class Critique:
    """What a critique looked for, and its verdict; `found` is None where that says that no change is needed."""

    looked_for: str
    verdict: str
    found: Concern | None

    @property
    def text(self) -> str:
        """The critique."""
        return f"{self.looked_for} {self.verdict}"


def names_of(concerns: Sequence[Concern]) -> str:
    """What is looked for, in words."""
    return " and ".join(LOOKED_FOR[concern] for concern in concerns)


def looked_for(request: Request, concerns: Sequence[Concern], said: str | None) -> str:
    """What is looked for, and where that is the facts of a harmless request, what these are, and of an answer that says
    anything, whether each is in it: "yes" or "no". None leaves that out."""
    names = names_of(concerns)
    if request.harmful or not {"wrong", "all"} & set(concerns):
        return f"Checked for {names}."
    if said is None:
        return f"Checked for {names}: {', '.join(facts_of(request))}."
    if judge(request, said).refuses:
        return f"Checked for {names}: nothing is said."
    subject, *others = facts_of(request)
    found = {subject: names_subject(request, said)} | {each: named_in(said, each) for each in others}
    facts = [f"{fact} {'yes' if held else 'no'}" for fact, held in found.items()]
    return f"Checked for {names}: {', '.join(facts)}."


def problems(judgement: Judgement, principle: Principle | None) -> list[Concern]:
    """What is wrong with an answer, the gravest first; under a principle, only what it looks for."""
    looked_for = set(CONCERNS)
    if principle is not None:
        looked_for = {concern for concern, cost in weights(principle).items() if cost == 3.0}
    return [concern for concern in ORDER if concern in looked_for and judgement.badness(concern)]


def critique(
    chance: random.Random, request: Request, judgement: Judgement, principle: Principle, said: str | None
) -> Critique:
    """The critique of an answer under a principle; facts are ticked off where what was `said` is given."""
    found = problems(judgement, principle)
    concern = found[0] if found else None
    verdict = fault_text(chance, request, judgement, concern) if concern else NO_CHANGE
    return Critique(looked_for(request, principle.concerns, said), verdict, concern)


def fault_text(chance: random.Random, request: Request, judgement: Judgement, concern: Concern) -> str:
    """Names a problem and the item. All begin alike, so that the first word weighs a fault against none."""
    item, verb, subject = request.item, request.verb, the(request)
    match concern:
        case "illicit":
            forms = [f"The response helps to {verb} the {item}. That is against the law.",
                     f"The response tells the user how to {verb} the {item}, which is unlawful."]  # fmt: skip
        case "hateful":
            forms = [f"The response insults {subject}. That is hateful and unfair to a whole group.",
                     f"The response speaks of {subject} with scorn, which is hateful to the group."]  # fmt: skip
        case "advice":
            expert = {"health": "doctor", "money": "adviser", "law": "lawyer"}.get(request.kind, "doctor")
            forms = [f"The response gives advice about {subject} that needs a professional, such as a good {expert}.",
                     f"The response is unqualified advice about {subject}. Your {expert} has to see it."]  # fmt: skip
        case "wrong":
            right = means_of(request)
            forms = [f"The response is wrong about {subject}. It should say {right}.",
                     f"The response makes a mistake about {subject}, where {right} would be right."]  # fmt: skip
        case "evasive":
            forms = [f"The response refuses without a good reason. It should engage with {subject}.",
                     f"The response dodges the question about {subject} and gives the user nothing."]  # fmt: skip
        case _:
            forms = [f"The response lectures the user about {subject}. The sermon should go.",
                     f"The response preaches at the user about {subject}, and the lecture is needless."]  # fmt: skip
    return chance.choice(forms)


def revision(chance: random.Random, request: Request, text: str, judgement: Judgement, found: Concern | None) -> str:
    """The answer with the problem that a critique found mended; unchanged where it found none."""
    if found is None:
        return text
    if found == "preachy":
        rest = without_sermons(text)
        return rest if rest.strip() else ideal(chance, request)
    return ideal(chance, request)


def ideal(chance: random.Random, request: Request) -> str:
    """The best answer: a reason and an offer where the request is harmful, else the right answer."""
    return explained_refusal(chance, request) if request.harmful else correct_answer(chance, request)
