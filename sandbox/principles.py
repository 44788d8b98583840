"""Principles by grammar: what each looks for is known, and how it is worded is drawn from data/principles.yaml.

Phrases and templates of a split are apart from those of the others, so that a judged principle is worded as none of
those that the model was trained on. The constitutions that Charter ships are wholly held out.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
from dataclasses import dataclass, field
from typing import Literal

import constitution
from constitution.schema import Principle as Shipped
from sandbox.splits import Split, members
from sandbox.wordings import Wordings, wordings
from sandbox.world import data

Concern = Literal["illicit", "hateful", "advice", "harm", "preachy", "evasive", "wrong", "all"]
Topic = Concern | Literal["certainty", "completeness"]
"""What a text is about: one concern, or two at once."""
DRAWN: dict[Topic, int] = {
    "illicit": 4,
    "hateful": 4,
    "advice": 4,
    "harm": 3,
    "preachy": 3,
    "evasive": 4,
    "wrong": 3,
    "all": 4,
    "certainty": 2,
    "completeness": 2,
}
"""How often each is drawn for a principle."""
WHOLE = 0.4
"""How often a critique or comparison text is one of those written whole."""
FOUND = 0.3
"""How often a question about what is bad is put in a template that serves for that only."""


@dataclass(frozen=True, slots=True)
class Principle:
    """What a principle looks for, and its texts. `guarded`: its comparison never prefers a harmful answer."""

    concerns: tuple[Concern, ...]
    guarded: bool
    critique: str
    revision: str
    comparison: str
    propositions: tuple[tuple[str, str], ...] = field(default=())
    """Questions about one answer, each with the answer ("yes" or "no") that counts against it: for the first topic."""
    asked: tuple[Concern, ...] = field(default=())
    """What its propositions ask about."""


def phrases(topic: Topic, slot: str, split: Split) -> Wordings:
    """The phrases of a topic for one slot, or its whole critique or comparison texts."""
    listed = data("principles")["concerns"][topic]
    return wordings((*listed.get(slot, ()), *listed["combined"].get(slot, ())), f"{topic} {slot}", split, 0.12)


def concerns_of(topic: Topic) -> tuple[Concern, ...]:
    """The concerns that a topic stands for."""
    return tuple(data("principles")["concerns"][topic].get("stands_for", (topic,)))


def templates(kind: str, split: Split) -> Wordings:
    """The templates of one kind of text."""
    return wordings(tuple(data("principles")["templates"][kind]), f"template {kind}", split, 0.12)


def fill(chance: random.Random, topic: Topic, kind: str, split: Split, act: str = "bad") -> str:
    """One text of a kind about a topic: a template with phrases, or one written whole. `act` says what a template's
    {act} is: what a "bad" response does, or a "good" one."""
    if kind in ("critique", "comparison") and chance.random() < WHOLE:
        return phrases(topic, kind, split).draw(chance)
    template = templates(kind, split).draw(chance)
    blanks = re.findall(r"{(\w+)}", template)
    values: dict[str, str] = {}
    for blank in blanks:
        slot = blank.rstrip("234")
        known = phrases(topic, act if slot == "act" else slot, split)
        used = set(values.values())
        values[blank] = next(
            each for tries in itertools.count() if (each := known.draw(chance)) not in used or tries == 9
        )
    text = template.format(**values)
    return text.replace("Does the response be ", "Is the response ")


def draw_principle(chance: random.Random, split: Split, topic: Topic | None = None) -> Principle:
    """A principle of a split; its topic is drawn unless given. One in six looks for two things."""
    if topic is None:
        topic = chance.choices(list(DRAWN), list(DRAWN.values()))[0]
    topics: list[Topic] = [topic]
    main = concerns_of(topic)
    if topic not in ("all", "harm") and len(main) == 1 and chance.random() < 0.17:
        topics.append(
            chance.choice([each for each in DRAWN if each not in (topic, "all") and len(concerns_of(each)) == 1])
        )
    guarded = topic in ("preachy", "evasive", "wrong", "completeness") and chance.random() < 0.4
    texts = {}
    for kind in ("critique", "revision", "comparison"):
        parts = [fill(chance, each, kind, split) for each in topics]
        if chance.random() < 0.3:
            parts.append(fill(chance, topic, kind, split))
        if chance.random() < 0.3:
            parts.insert(0, phrases(topic, "scene", split).draw(chance))
        listed = data("principles")
        if guarded and kind == "comparison":
            parts.append(chance.choice(listed["guards"]["comparison"]))
        fillers = members(listed["fillers"][kind], f"filler {kind}", split)
        parts += chance.sample(fillers, min(len(fillers), chance.choices((0, 1, 2), (4, 4, 2))[0]))
        if len(parts) > 1 and chance.random() < 0.2:
            parts = [*parts[1:], parts[0]]
        texts[kind] = " ".join(parts)
    return Principle(
        tuple(concern for each in topics for concern in concerns_of(each)),
        guarded,
        texts["critique"],
        texts["revision"],
        texts["comparison"],
        propositions(chance, topic, split),
        main,
    )


def propositions(chance: random.Random, topic: Topic, split: Split) -> tuple[tuple[str, str], ...]:
    """Two questions about a topic: one where yes is bad, one where no is. Most are put in the same templates."""
    kind = "proposition_found" if chance.random() < FOUND else "proposition"
    bad, good = fill(chance, topic, kind, split), fill(chance, topic, "proposition", split, act="good")
    return (bad, "yes"), (good, "no")


GUARDED_SHIPPED = frozenset({"no-sermons", "helps-with-the-rest", "reads-past-scary-words", "speaks-to-this-person"})


@functools.cache
def shipped(name: str) -> dict[str, Principle]:
    """The principles of a constitution that Charter ships, with what they look for; unmapped ones are left out."""
    known = data("principles")["shipped"]
    loaded = constitution.load_constitution(name)
    return {each.id: _of(each, tuple(known[each.id])) for each in loaded.principles if each.id in known}


def _of(principle: Shipped, concerns: tuple[Concern, ...]) -> Principle:
    asked = tuple((each.question, str(each.bad_answer)) for each in principle.propositions)
    guarded = principle.id in GUARDED_SHIPPED
    return Principle(
        concerns,
        guarded,
        principle.critique or "",
        principle.revision or "",
        principle.comparison or "",
        asked,
        concerns,
    )
