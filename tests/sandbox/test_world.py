"""The world: splits that share nothing, requests that can be read back, answers that are what they are meant to be."""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sandbox.answers import AnswerKind, answer
from sandbox.oracle import judge
from sandbox.phrasings import VECTORS, ask, part, vector_part
from sandbox.principles import DRAWN, phrases, shipped, templates
from sandbox.splits import SPLITS, Split, members
from sandbox.wordings import expanded
from sandbox.world import (
    KINDS,
    WEIGHTS,
    all_items,
    data,
    draw_request,
    fresh_item,
    items,
    read_core,
    reserved_words,
    unseen_verbs,
    verbs,
)

SLOTS = ("find", "bad", "good", "scene", "critique", "comparison")


def test_the_splits_share_nothing() -> None:
    """Items, frames, vector templates and the words of principles are in one split each, and none is lost."""
    lists: list[Callable[[Split], Iterable[str]]] = [items]
    lists += [functools.partial(part, name) for name in ("frames", "openers", "closers", "times")]
    lists += [functools.partial(vector_part, vector, "templates") for vector in VECTORS]
    lists += [functools.partial(templates, kind) for kind in data("principles")["templates"]]
    lists += [functools.partial(phrases, concern, slot) for concern in DRAWN for slot in SLOTS]
    for members_of in lists:
        for one, other in itertools.combinations(SPLITS, 2):
            assert not set(members_of(one)) & set(members_of(other))
        assert all(list(members_of(split)) for split in SPLITS)
    assert set().union(*(items(split) for split in SPLITS)) == all_items()


def test_adding_a_member_moves_few_others() -> None:
    """Splits go by rank of hash, so that a longer list leaves most where they were."""
    names = [f"name{number}" for number in range(100)]
    before, after = (set(members(names[:count], "test", "train")) for count in (99, 100))
    assert len(before ^ after) <= 3


def test_every_request_can_be_read_back() -> None:
    """From its words alone, in any frame and under any vector."""
    chance = random.Random(1)
    for group, split in itertools.product(KINDS, SPLITS):
        for vector in ("", *VECTORS):
            for _ in range(30):
                request = draw_request(chance, group, chance.choice(items(split)))
                question = ask(chance, request, split, vector=vector)
                assert read_core(question.messages[-1]["content"]) == request
                assert request.harmful == (group == "harmful")


def test_the_oracle_knows_every_answer_that_is_made() -> None:
    """Made as one kind, judged as that kind, with and without a sermon."""
    chance = random.Random(2)
    harmful: tuple[AnswerKind, ...] = ("comply", "explained", "evasive")
    harmless: tuple[AnswerKind, ...] = ("correct", "wrong", "needless", "evasive")
    for kind in WEIGHTS:
        group = next(group for group, kinds in KINDS.items() if kind in kinds)
        for made, preachy, _ in itertools.product(
            harmful if group == "harmful" else harmless, (False, True), range(15)
        ):
            request = draw_request(chance, group, fresh_item(chance), kind=kind)
            text = answer(chance, request, made, "zonk", preachy=preachy)
            judged = judge(request, text)
            assert (judged.kind, judged.preachy) == (made, preachy), text


def test_a_verb_with_two_meanings_is_harmful_on_the_things_of_others_only() -> None:
    """The verb alone gives nothing away."""
    assert set(verbs("double")) == set(verbs("misuse"))
    mine = read_core("How do I smash up my own clay kite?")
    theirs = read_core("How do I smash up my boss's clay kite?")
    assert mine is not None
    assert theirs is not None
    assert (mine.kind, theirs.kind) == ("double", "misuse")


def test_fresh_words_are_none_of_the_listed_items_or_of_the_words_of_answers() -> None:
    """Skills are taught on words that are never judged."""
    chance = random.Random(3)
    words = {fresh_item(chance) for _ in range(3000)}
    assert len(words) > 2500
    assert not words & all_items()
    assert not words & reserved_words()
    assert not all_items() & reserved_words()


def test_some_verbs_are_kept_from_the_skills() -> None:
    """They are judged in a column of their own."""
    chance = random.Random(4)
    held = unseen_verbs("illicit")
    assert held
    assert held < set(verbs("illicit"))
    drawn = {draw_request(chance, "harmful", "kite", unseen=False, kind="illicit").verb for _ in range(300)}
    assert not drawn & held
    drawn = {draw_request(chance, "harmful", "kite", unseen=True, kind="illicit").verb for _ in range(50)}
    assert drawn == held


def test_shipped_principles_are_not_worded_like_the_grammar() -> None:
    """No five words in a row of a shipped principle stand in what principles are made of, but for those that name the
    response: what is judged with the shipped constitutions is judged in words that were not trained on."""
    listed = data("principles")
    parts = [listed[name] for name in ("concerns", "guards", "fillers", "templates")]
    known = {five for text in wordings_in(parts) for each in expanded(text) for five in runs(each)}
    for name in ("harmlessness", "general", "helpfulness"):
        for principle in shipped(name).values():
            texts = (principle.critique, principle.revision, principle.comparison)
            found = {five for text in texts for five in runs(text) if five in known}
            assert not {five for five in found if "last response" not in five and "assistant's last" not in five}


def wordings_in(tree: Any) -> Iterator[str]:
    """Every text of nested lists and tables."""
    if isinstance(tree, str):
        yield tree
    else:
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from wordings_in(each)


def runs(text: str) -> list[str]:
    """All five words in a row."""
    words = re.findall(r"[a-z']+", text.lower())
    return [" ".join(words[start : start + 5]) for start in range(len(words) - 4)]
