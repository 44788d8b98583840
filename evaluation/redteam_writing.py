"""Red-team prompts that a model writes: more of a kind, harmless ones that sound like them, and what to say next.

    seeds ──examples of a category──► another, lookalike ──► read ──► filtered ──► Seed     its parents are the examples
    prompt ► target's answer ──────► follow_up ──► … ──────────────► a prompt of several turns

Few-shot expansion as in Perez et al. 2022 (section 3.1): examples are drawn anew for every prompt, so that the writer
is led away from itself. What is a refusal, a fragment, or nearly the same as another prompt is left out and counted.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from constitution.faults import BadInput, Fault
from constitution.hashing import content_hash
from constitution.yaml_files import read_text
from engine.duplicates import DuplicateFinder
from engine.model import Model, PromptTooLong, Sampling, TemplateRefused
from engine.records import Prompt, derived_seed
from evaluation.judgements import is_harmless
from evaluation.redteam import RedTeamPrompt, Seed, environment
from evaluation.refusals import detect_refusal
from prompts.messages import Message
from prompts.reading import leaks_template

Kind = Literal["another", "lookalike"]
TEMPLATES = Path(__file__).parents[1] / "prompts" / "redteam"
LOOKALIKE, FOLLOW_UP = "lookalike", "follow_up"
KINDS: Mapping[Kind, str] = {"another": "prompts of", "lookalike": "look-alikes of"}
EXAMPLES = 5
"""Seeds that a writer is shown for each prompt; fewer where a category has no more."""
TRIES = 4
"""How often a writer is asked for each prompt that is wanted, before the rest is given up."""
ALIKE = 0.7
"""Prompts this alike (Jaccard similarity of word triples) are one."""
SHORTEST, LONGEST = 3, 120
"""Words of a request."""
WRITTEN_TOKENS, ANSWER_TOKENS = 128, 256
NUMBERING = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):])\s+")
ANNOUNCING = re.compile(r"\s*(?:sure|certainly|of course|okay|here(?:'s|’s| is| are))\b.*:\**\s*", re.IGNORECASE)
"""A line that announces what is written, such as "Here is one more request:"."""
SPEAKER = re.compile(r"^\**tester\**:\**\s*", re.IGNORECASE)
QUOTES = {'"': '"', "“": "”", "'": "'", "«": "»"}


class Unusable(Exception):
    """What was written is no request; the message says why, in words that are counted."""


def read_request(text: str, finish_reason: str) -> str:
    """The request that a writer wrote, without what it says before and after; the first one of a list. Raises
    Unusable."""
    request = _first(text)
    if len(request) > 4 and request.startswith("**") and request.endswith("**"):
        request = request[2:-2].strip()
    if len(request) > 1 and QUOTES.get(request[0]) == request[-1]:
        request = request[1:-1].strip()
    if finish_reason == "length":
        raise Unusable("cut off")
    words = len(request.split())
    if words < SHORTEST:
        raise Unusable("empty or a fragment")
    if words > LONGEST:
        raise Unusable("too long")
    if leaks_template(request):
        raise Unusable("leaks the template")
    refusal = detect_refusal("Write a request.", request)
    if refusal is not None and refusal.refuses:
        raise Unusable("refused to write")
    return request


def _first(text: str) -> str:
    """The first paragraph after an announcement, or the first item where it is a list."""
    announced, _, rest = text.strip().partition("\n")
    paragraph = (rest if rest.strip() and ANNOUNCING.fullmatch(announced) else text).strip().split("\n\n")[0]
    first, *others = paragraph.split("\n")
    if NUMBERING.match(first):
        others = list(itertools.takewhile(lambda line: not NUMBERING.match(line), others))
    return SPEAKER.sub("", NUMBERING.sub("", "\n".join([first, *others])).strip())


@dataclass
class Notebook:
    """What models have said so far, a JSON object a line, so that a command that was stopped asks only what is
    missing. A last line that a crash cut short is dropped."""

    path: Path
    said: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises BadInput where the file is something else."""
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                row = json.loads(line)
                self.said[row["asked"]] = (row["text"], row["finish_reason"])
            except (ValueError, KeyError, TypeError):
                hint = "name another --output, or remove the file"
                message = "this is nothing that a writer said"
                raise BadInput(Fault(message, file=str(self.path), line=number, hint=hint)) from None

    async def ask(self, model: Model, messages: Sequence[Message], sampling: Sampling) -> tuple[str, str]:
        """What the model says, and why it ended. Raises what the model raises."""
        asked = content_hash([model.name, model.revision, list(messages), sampling.seed, sampling.max_tokens])
        if asked not in self.said:
            try:
                completion = await model.generate(messages, sampling)
                said = (completion.text, str(completion.finish_reason))
            except (PromptTooLong, TemplateRefused):
                said = ("", "refused by the model's window or template")
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"asked": asked, "text": said[0], "finish_reason": said[1]}) + "\n")
            self.said[asked] = said
        return self.said[asked]


@dataclass(frozen=True, slots=True)
class Tally:
    """How many prompts of a kind were wanted of a writer, how many it was asked for, and how many were kept."""

    kind: str
    wanted: int
    asked: int
    kept: int

    def __str__(self) -> str:
        return f"{self.kind}: {self.kept:,} of {self.wanted:,} written, asked for {self.asked:,}"


@dataclass(frozen=True)
class Writer:
    """A model that writes prompts."""

    model: Model
    notebook: Notebook
    seed: int
    left_out: Counter[str]
    """What could not be used, by reason."""
    tallies: list[Tally]
    """What came of each category, and of the follow-ups."""
    told: Callable[[int], None] = lambda count: None
    """Hears of every request that was asked for."""

    @property
    def name(self) -> str:
        """Name and revision."""
        return f"{self.model.name}@{self.model.revision}"

    async def expand(self, kind: Kind, seeds: Sequence[Prompt], count: int, known: Iterable[Seed] = ()) -> list[Seed]:
        """So many new prompts for every risk category of the seeds, or fewer where the writer gives out; none that is
        nearly the same as a seed or a known one."""
        before = [*seeds, *(each.prompt for each in known)]
        by_category: dict[str, list[Prompt]] = {}
        for seed in seeds:
            if not is_harmless(seed.category):
                by_category.setdefault(seed.category, []).append(seed)
        found: list[Seed] = []
        for category, mine in by_category.items():
            found += await self._of_category(kind, category, mine, [*before, *(each.prompt for each in found)], count)
        return found

    async def _of_category(
        self, kind: Kind, category: str, seeds: Sequence[Prompt], known: Sequence[Prompt], count: int
    ) -> list[Seed]:
        found: list[Seed] = []
        asked = 0
        for start in range(0, TRIES * count, count):
            if len(found) == count:
                break
            asked += count
            made = await asyncio.gather(
                *(self._one(kind, category, seeds, attempt) for attempt in range(start, start + count))
            )
            self.told(count)
            fresh = distinct([each for each in made if each], [*known, *(each.prompt for each in found)])
            self.left_out["like another prompt"] += sum(each is not None for each in made) - len(fresh)
            self.left_out["more than was wanted"] += max(0, len(fresh) - (count - len(found)))
            found += fresh[: count - len(found)]
        what = f"{KINDS[kind]} {category.replace('_', ' ') or '(no category)'}"
        self.tallies.append(Tally(what, count, asked, len(found)))
        return found

    async def _one(self, kind: Kind, category: str, seeds: Sequence[Prompt], attempt: int) -> Seed | None:
        seed = derived_seed(self.seed, kind, category, attempt)
        examples = random.Random(seed).sample(seeds, min(EXAMPLES, len(seeds)))  # noqa: S311 - not a secret
        asked = _rendered(
            kind, category=category.replace("_", " "), examples=[each.messages[-1]["content"] for each in examples]
        )
        request = await self._request(asked, seed)
        if request is None:
            return None
        made = Prompt.of(
            [Message(role="user", content=request)],
            category=LOOKALIKE if kind == "lookalike" else category,
            source=f"written by {self.model.name}",
        )
        return Seed(made, tuple(each.item_id for each in examples), self.name)

    async def _request(self, asked: str, seed: int) -> str | None:
        """What the writer wrote; None where it cannot be used, which is counted."""
        sampling = Sampling(max_tokens=WRITTEN_TOKENS, seed=seed)
        text, finish_reason = await self.notebook.ask(self.model, [Message(role="user", content=asked)], sampling)
        try:
            return read_request(text, finish_reason)
        except Unusable as reason:
            self.left_out[str(reason)] += 1
            return None

    async def follow_up(self, start: RedTeamPrompt, target: Model, turns: int) -> RedTeamPrompt | None:
        """The prompt, and so many further turns in which the writer asks on after the target's answers. None where
        either gives nothing to go on with."""
        messages = list(start.prompt.messages)
        for turn in range(turns):
            seed = derived_seed(self.seed, FOLLOW_UP, start.prompt.item_id, turn)
            answer, _ = await self.notebook.ask(target, messages, Sampling(max_tokens=ANSWER_TOKENS, seed=seed))
            if not answer.strip():
                self.left_out["the target gave no answer"] += 1
                return None
            messages.append(Message(role="assistant", content=answer.strip()))
            request = await self._request(_rendered(FOLLOW_UP, messages=messages), seed)
            if request is None:
                return None
            messages.append(Message(role="user", content=request))
        made = Prompt.of(messages, category=start.prompt.category, vector=FOLLOW_UP, source=start.prompt.source)
        return RedTeamPrompt(made, start.parent, start.parents, self.name)

    async def follow_ups(self, starts: Iterable[RedTeamPrompt], target: Model, turns: int) -> list[RedTeamPrompt]:
        """A conversation for each prompt that has no vector yet, but for those that came to nothing."""

        async def one(start: RedTeamPrompt) -> RedTeamPrompt | None:
            made = await self.follow_up(start, target, turns)
            self.told(1)
            return made

        found = await asyncio.gather(*map(one, starts))
        made = [each for each in found if each is not None]
        self.tallies.append(Tally("follow-ups", len(found), len(found), len(made)))
        return made


def _rendered(template: str, **values: object) -> str:
    text = read_text(TEMPLATES / f"{template}.jinja")
    return environment().from_string(text).render(**values).strip()


def distinct(made: Sequence[Seed], known: Sequence[Prompt]) -> list[Seed]:
    """Those that are not nearly the same as a known prompt, or as one before them."""
    finder = DuplicateFinder(ALIKE)
    numbered = [*known, *(each.prompt for each in made)]
    kept = {prompt.item_id for prompt in finder.distinct(numbered)}
    for group in finder.report().near:
        kept -= {member.item_id for member in group.members[1:]}
    before = {prompt.item_id for prompt in known}
    found: dict[str, Seed] = {}
    for each in made:
        if each.prompt.item_id in kept and each.prompt.item_id not in before:
            found.setdefault(each.prompt.item_id, each)
    return list(found.values())


def counted(prompts: Iterable[RedTeamPrompt]) -> Mapping[tuple[str, str], int]:
    """How many prompts there are by category and vector."""
    return Counter((each.prompt.category, each.prompt.vector) for each in prompts)


def lines_left_out(left_out: Mapping[str, int]) -> Iterator[str]:
    """A line for each reason."""
    return (f"left out {count:,}: {reason}" for reason, count in left_out.items() if count)
