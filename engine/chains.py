"""What happens to one row. A chain is a coroutine over one prompt; it knows models, not machines.

    ReviseChain    respond ► (critique ► revise) × N                        one RevisedRow a prompt
    CompareChain   respond × n ► for every two: principles × orders ► label  one Comparison a pair (engine/comparing.py)
    SampleChain    respond × n, and × m under a preprompt                    one SampledRow a prompt

Thousands of these run side by side in the worker that hosts the model (engine/rows.py), so that its batch stays
full and no step waits for another row. Left out on purpose: retries, storage and Ray.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from constitution import Constitution, Principle, draw_principle
from engine.calls import generated, under
from engine.model import Model
from engine.records import (
    Call,
    Critique,
    Prompt,
    Response,
    RevisedRow,
    Revision,
    SampledRow,
    derived_seed,
)
from engine.settings import ReviseSettings, SampleSettings
from prompts.messages import Message
from prompts.reading import leaks_template, read_critique
from prompts.rendering import PromptSet


class Chain(Protocol):
    """What engine/rows.py runs: all output rows of one prompt, or an exception."""

    async def run(self, prompt: Prompt) -> Sequence[Any]: ...


@dataclass(frozen=True)
class ReviseChain:
    """Respond, then N rounds of critique and revision, each under a principle drawn for it (Bai et al. 2022, 3.1).

    Every round sees the whole conversation and the answer as it stands; earlier critiques are dropped.
    """

    responder: Model
    critic: Model
    reviser: Model
    prompts: PromptSet
    constitution: Constitution
    settings: ReviseSettings
    seed: int
    preamble: str = ""

    async def run(self, prompt: Prompt) -> list[RevisedRow]:
        """One row. Raises what the models raise."""
        seed = derived_seed(self.seed, prompt.item_id, "respond", 0)
        rendered = self.prompts.respond(prompt.messages)
        text, call = await generated("respond", self.responder, rendered, self.settings.respond, seed)
        text = text.strip()
        critiques: list[Critique] = []
        revisions: list[Revision] = []
        standing = text
        for number in range(1, self.settings.rounds + 1):
            critique, revision = await self._round(prompt, standing, number)
            if critique is not None:
                critiques.append(critique)
            revisions.append(revision)
            # An empty answer cannot be criticised: the one before it goes on standing.
            standing = revision.text or standing
            if revision.call is None and self.settings.on_no_fault == "stop":
                break
        flags = _answer_flags(standing, [call, *(item.call for item in revisions if item.call)], text, revisions)
        return [
            RevisedRow(
                **prompt.carried(),
                constitution_hash=self.constitution.hash,
                response=Response(sample=0, text=text, call=call),
                critiques=tuple(critiques),
                revisions=tuple(revisions),
                final=standing,
                flags=flags,
            )
        ]

    async def _round(self, prompt: Prompt, standing: str, number: int) -> tuple[Critique | None, Revision]:
        principle = draw_principle(
            self.constitution, seed=self.seed, item_id=prompt.item_id, round=number, category=prompt.category
        )
        critique = await self._criticise(prompt, standing, number, principle) if self.settings.critique else None
        if critique is not None and critique.finds_fault is False and self.settings.on_no_fault != "revise":
            return critique, Revision(number, principle.id, principle.hash, standing, changed=False, call=None)
        rendered = self.prompts.revise(
            prompt.messages,
            standing,
            (critique.text or None) if critique else None,
            principle.revision or "",
            critique_request=principle.critique,
        )
        seed = derived_seed(self.seed, prompt.item_id, "revise", number)
        text, call = await generated(
            "revise", self.reviser, under(self.preamble, rendered), self.settings.rewrite, seed
        )
        text = text.strip()
        return critique, Revision(number, principle.id, principle.hash, text, changed=text != standing, call=call)

    async def _criticise(self, prompt: Prompt, standing: str, number: int, principle: Principle) -> Critique:
        rendered = self.prompts.critique(prompt.messages, standing, principle.critique or "")
        seed = derived_seed(self.seed, prompt.item_id, "critique", number)
        text, call = await generated(
            "critique", self.critic, under(self.preamble, rendered), self.settings.criticise, seed
        )
        text = text.strip()
        return Critique(number, principle.id, principle.hash, text, read_critique(text), call)


def _answer_flags(standing: str, calls: Sequence[Call], first: str, revisions: Sequence[Revision]) -> tuple[str, ...]:
    """What is wrong with the answer that stands at the end; METHOD: no-op, empty, truncated, template leak."""
    maker = calls[0]
    for revision in revisions:
        if revision.call is not None and revision.text == standing:
            maker = revision.call
    found = {
        "empty": not standing,
        "truncated": maker.finish_reason == "length",
        "template_leak": leaks_template(standing) is not None,
        "unchanged": bool(revisions) and standing == first,
    }
    return tuple(name for name, holds in found.items() if holds)


ANY_CATEGORY = "any"
"""The preprompt of prompts whose risk category has none of its own."""


@dataclass(frozen=True)
class SampleChain:
    """Sample answers, some of them under a preprompt chosen by the prompt's risk category."""

    responder: Model
    prompts: PromptSet
    settings: SampleSettings
    seed: int
    preprompts: Mapping[str, PromptSet] = field(default_factory=dict)
    """By category: prompts whose `respond` template makes the system message."""
    prefill: str = ""
    """What every answer is made to begin with."""

    async def run(self, prompt: Prompt) -> list[SampledRow]:
        """One row. Raises what the model raises."""
        name = next((each for each in (prompt.category, ANY_CATEGORY) if each in self.preprompts), "")
        plain = [self._respond(prompt, self.prompts, "respond", sample) for sample in range(self.settings.samples)]
        guided = [
            self._respond(prompt, self.preprompts[name], f"respond under {name}", sample)
            for sample in range(self.settings.guided if name else 0)
        ]
        made = await asyncio.gather(*plain, *guided)
        return [
            SampledRow(
                **prompt.carried(),
                responses=tuple(made[: len(plain)]),
                guided=tuple(made[len(plain) :]),
                preprompt=name,
            )
        ]

    async def _respond(self, prompt: Prompt, prompts: PromptSet, draw: str, sample: int) -> Response:
        seed = derived_seed(self.seed, prompt.item_id, draw, sample)
        rendered = prompts.respond(prompt.messages)
        if self.prefill:
            begun = Message(role="assistant", content=self.prefill)
            rendered = replace(rendered, messages=(*rendered.messages, begun))
        text, call = await generated("respond", self.responder, rendered, self.settings.respond, seed)
        return Response(sample=sample, text=(self.prefill + text).strip(), call=call)
