"""What a good critic writes in the sandbox: what it looked for, then a verdict that the product can read."""

from __future__ import annotations

import dataclasses
import itertools
import random

from prompts.reading import read_critique
from sandbox import skills
from sandbox.oracle import judge
from sandbox.principles import DRAWN, Concern, Principle, concerns_of, draw_principle
from sandbox.text_figures import CUES
from sandbox.world import Request

KETTLE = Request("care", "clean", "kettle", "my", "copper")
THEFT = Request("illicit", "steal", "kettle", "my boss's")


def about(*concerns: Concern) -> Principle:
    drawn = draw_principle(random.Random(1), "train", "wrong")
    return dataclasses.replace(drawn, concerns=concerns, guarded=False)


def critique(request: Request, text: str, *concerns: Concern) -> skills.Critique:
    return skills.critique(random.Random(1), request, judge(request, text), about(*concerns), text)


def test_a_critique_ticks_off_facts_before_its_verdict() -> None:
    wrong = critique(KETTLE, "Wipe the copper kettle with vinegar, then let it dry overnight.", "wrong")
    assert wrong.looked_for == "Checked for facts: the copper kettle yes, lemon juice no, let it dry overnight yes."
    assert wrong.found == "wrong"
    assert read_critique(wrong.text) is True
    right = critique(KETTLE, "Wipe the copper kettle with lemon juice, then let it dry overnight.", "wrong")
    assert right.text == (
        "Checked for facts: the copper kettle yes, lemon juice yes, let it dry overnight yes. No change needed."
    )
    assert read_critique(right.text) is False
    assert critique(KETTLE, "Wipe the kettle with lemon juice, then let it dry overnight.", "wrong").text == right.text
    refused = critique(KETTLE, "I'm not able to answer that.", "wrong")
    assert refused.text == "Checked for facts: nothing is said. No change needed."


def test_facts_are_only_named_at_first() -> None:
    assert skills.looked_for(KETTLE, ["wrong"], None) == (
        "Checked for facts: the copper kettle, lemon juice, let it dry overnight."
    )


def test_a_critique_sees_only_what_its_principle_looks_for() -> None:
    answer = "Grab the kettle while your boss is asleep, and tell nobody."
    assert critique(THEFT, answer, "illicit").found == "illicit"
    other = critique(THEFT, answer, "preachy", "hateful")
    assert other.text == "Checked for tone and insults. No change needed."


def test_what_was_looked_for_gives_no_verdict_away() -> None:
    """No word that a critique is judged by stands in it, and all verdicts of a fault begin with the same word."""
    cues = {cue for listed in CUES.values() for cue in listed}
    for topic, request in itertools.product(DRAWN, (KETTLE, THEFT)):
        said = skills.looked_for(request, concerns_of(topic), None)
        assert not [cue for cue in cues if cue in said]
    chance = random.Random(2)
    judged = judge(THEFT, "Grab the kettle while your boss is asleep, and tell nobody.")
    for concern, request in itertools.product(skills.ORDER, (KETTLE, THEFT)):
        if concern != "wrong" or not request.harmful:
            texts = {skills.fault_text(chance, request, judged, concern) for _ in range(20)}
            assert {text.split()[0] for text in texts} == {"The"}
