"""What the micro-model is trained on, piece by piece: token ids, and what is to be said after which of them.

trunk ─┬─ branch 1      the trunk is computed once; each branch sees it and itself, and no other branch
       └─ branch 2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Skill = Literal["copies", "facts", "answers", "faults", "revisions", "propositions", "comparisons"]
SKILLS: tuple[Skill, ...] = ("copies", "facts", "answers", "faults", "revisions", "propositions", "comparisons")


@dataclass(frozen=True, slots=True)
class Target:
    """A next token to learn: `token` at `place`, with this weight."""

    place: int
    token: int
    weight: float


@dataclass(slots=True)
class Document:
    """Token ids with their positions; branch 0 is the trunk, and each other branch sees it and itself.

    `targets`: what the model should say after the token at `place`.
    """

    skill: Skill
    ids: list[int]
    positions: list[int]
    branches: list[int]
    targets: list[Target] = field(default_factory=list)

    @property
    def is_plain(self) -> bool:
        """Whether there is one branch only, so that a causal mask will do."""
        return max(self.branches, default=0) == 0


Branch = tuple[list[int], list[Target]]
"""The tokens of a text from its beginning, and what is learnt from them."""


def joined(skill: Skill, branches: Sequence[Branch]) -> Document:
    """One document of texts that begin alike. What is learnt stands in the branches."""
    first_learnt = min(target.place for _, targets in branches for target in targets)
    trunk = min(shared_length([ids for ids, _ in branches]), first_learnt)
    document = Document(skill, branches[0][0][:trunk], list(range(trunk)), [0] * trunk)
    for number, (ids, targets) in enumerate(branches, start=1):
        offset = len(document.ids) - trunk
        document.ids += ids[trunk:]
        document.positions += range(trunk, len(ids))
        document.branches += [number] * (len(ids) - trunk)
        document.targets += [replace(target, place=target.place + offset) for target in targets]
    return document


def shared_length(encoded: Sequence[list[int]]) -> int:
    """How many tokens all begin with, at least one short of the shortest."""
    first, last = min(encoded), max(encoded)
    shortest = min(len(ids) for ids in encoded) - 1
    return next((place for place in range(shortest) if first[place] != last[place]), shortest)
