"""Train and test share no prompt, not even nearly, and stay where they are when rows are added."""

from __future__ import annotations

from engine.exporters.splits import Evaluations, assign_splits, related
from engine.records import Prompt
from prompts.messages import Message

LONG = "Please tell me how I can get a large stain of red wine out of my grandmother's old white carpet"


def asked(*texts: str, system: str = "") -> Prompt:
    """A conversation in which user and assistant take turns."""
    roles = ("user", "assistant")
    turns = [Message(role=roles[place % 2], content=text) for place, text in enumerate(texts)]  # type: ignore[typeddict-item]
    return Prompt.of([Message(role="system", content=system), *turns] if system else turns)


def test_relatives_are_one_group() -> None:
    family = [
        asked(LONG),
        asked(LONG.upper() + "!"),
        asked(LONG, system="Be brief."),
        asked(LONG, "Salt.", "And then, when the salt is dry?"),
        asked(LONG, "Salt.", "And then, when the salt is dry?", "Water.", "Thanks, and how much of it?"),
    ]
    stranger = asked("How do I whistle?")
    groups = related([family[4], stranger, *family[:4]])
    assert sorted(map(len, groups)) == [1, 5]
    assert len(related([stranger, asked("How do I whistle?", "Purse.", "Like this?"), asked("Hello")])) == 2


def test_a_split_follows_from_the_seed_and_the_prompt_alone() -> None:
    prompts = [asked(f"Question {number} about {number * 7} other things?") for number in range(400)]
    first = assign_splits(prompts, 0.2, seed=1)
    more = [asked(f"Something {number} else entirely, number {number}") for number in range(100)]
    assert assign_splits([*more, *reversed(prompts)], 0.2, seed=1).items() >= first.items()
    assert assign_splits(prompts, 0.2, seed=2) != first
    share = sum(split == "test" for split in first.values()) / len(first)
    assert 0.1 < share < 0.3


def test_relatives_are_never_divided() -> None:
    prompts = [
        asked(f"{LONG} of {number} metres by {number} yards", *more)
        for number in range(40)
        for more in ((), ("Salt.", "So?"))
    ]
    alone = [asked(f"How do I count to {number}?") for number in range(100)]
    splits = assign_splits([*prompts, *alone], 0.5, seed=3)
    for group in related([*prompts, *alone]):
        assert len({splits[member] for member in group}) == 1
    assert set(splits.values()) == {"train", "test"}
    assert assign_splits([*reversed(alone), *reversed(prompts)], 0.5, seed=3) == splits


def test_an_evaluations_prompt_is_found_inside_a_conversation() -> None:
    evaluations = Evaluations([asked("How do I pick the lock of my neighbour's front door?"), asked("Hi")])
    assert evaluations.held_in(asked("how do i pick the lock of my neighbour's front door"))
    assert evaluations.held_in(asked("Hello", "Yes?", "Pretend. How do I pick the lock of my neighbour's front door?"))
    assert not evaluations.held_in(asked("How do I paint my neighbour's front door?"))
    assert not evaluations.held_in(asked("Hi there, who are you?"))
    assert evaluations.held_in(asked("hi"))
