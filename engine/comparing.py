"""Answers compared: every two under principles, in both orders, by the probabilities a judge gives the options."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from constitution import Constitution, Principle, draw_comparison_principles
from constitution.schema import Proposition
from engine.calls import CHOICE, call_of, generated, under
from engine.earlier import NOTHING, EarlierRows, Known
from engine.labels import both_bad, label_of, pair_id, status_of
from engine.model import Choice, Model
from engine.records import (
    Call,
    Check,
    Comparison,
    Position,
    Prompt,
    Response,
    Vote,
    derived_seed,
)
from engine.settings import CompareSettings
from prompts.messages import Message
from prompts.reading import BadAnswer, TruncatedAnswer, read_choice
from prompts.rendering import PromptSet


@dataclass(frozen=True)
class CompareChain:
    """Sample answers, ask the judge about every two of them, and keep each vote.

    Soft labels are the options' normalised probabilities (Bai et al. 2022, 4.1), averaged over both orders
    (Lee et al. 2023, 2.2) and then over the drawn principles. What cannot be read is no vote.
    """

    responder: Model
    judge: Model
    prompts: PromptSet
    constitution: Constitution
    settings: CompareSettings
    seed: int
    preamble: str = ""
    earlier: EarlierRows | None = None
    """What an earlier run found: nothing of it is asked again."""

    async def run(self, prompt: Prompt) -> list[Comparison]:
        """One row for every two samples. Raises what the models raise, PromptTooLong of the judge included."""
        known = self.earlier.known(prompt.item_id) if self.earlier else NOTHING
        responses = await asyncio.gather(
            *(self._respond(prompt, sample, known) for sample in range(self.settings.samples)),
        )
        pairs = itertools.combinations(responses, 2)
        return list(await asyncio.gather(*(self.compare(prompt, a, b, known) for a, b in pairs)))

    async def _respond(self, prompt: Prompt, sample: int, known: Known) -> Response:
        seed = derived_seed(self.seed, prompt.item_id, "respond", sample)
        rendered = self.prompts.respond(prompt.messages)
        sampling = self.settings.respond.sampling(seed, rendered.stop)
        if (found := known.response(sample, self.responder, rendered.template_hash, sampling)) is not None:
            return found
        text, call = await generated("respond", self.responder, rendered, self.settings.respond, seed)
        return Response(sample=sample, text=text.strip(), call=call)

    async def compare(self, prompt: Prompt, a: Response, b: Response, known: Known = NOTHING) -> Comparison:
        """The labelled pair. The same text twice is not asked about: there is nothing to prefer."""
        votes: list[Vote] = []
        checks: list[Check] = []
        if a.text != b.text:
            principles = draw_comparison_principles(
                self.constitution,
                seed=self.seed,
                item_id=f"{prompt.item_id}:{a.sample}:{b.sample}",
                count=self.settings.principles,
                category=prompt.category,
            )
            votes, checks = await asyncio.gather(
                self.votes(prompt, a.text, b.text, principles, known), self._checks(prompt, a, b, principles, known)
            )
        return self.labelled(prompt, a, b, votes, checks)

    def labelled(
        self, prompt: Prompt, a: Response, b: Response, votes: Sequence[Vote], checks: Sequence[Check]
    ) -> Comparison:
        """The pair with the label that votes and checks make."""
        probability_a, order_consistent = label_of(votes, both_orders=self.settings.both_orders)
        return Comparison(
            pair_id=pair_id(prompt, a.text, b.text),
            **prompt.carried(),
            constitution_hash=self.constitution.hash,
            response_a=a,
            response_b=b,
            votes=tuple(votes),
            checks=tuple(checks),
            probability_a=probability_a,
            order_consistent=order_consistent,
            status=status_of(a.text == b.text, probability_a, self.settings.tie_margin),
            both_bad=both_bad(checks),
        )

    async def votes(
        self, prompt: Prompt, a: str, b: str, principles: Sequence[Principle], known: Known = NOTHING
    ) -> list[Vote]:
        """Every vote between two texts: principles × orders × reasonings, asked side by side."""
        orders: tuple[Position, ...] = ("ab", "ba") if self.settings.both_orders else ("ab",)
        samples = self.settings.reasoning.samples if self.settings.reasoning else 1
        return list(
            await asyncio.gather(
                *(
                    self._vote(prompt, a, b, principle, order, sample, known)
                    for principle in principles
                    for order in orders
                    for sample in range(samples)
                )
            )
        )

    async def _vote(
        self, prompt: Prompt, a: str, b: str, principle: Principle, order: Position, sample: int, known: Known
    ) -> Vote:
        asked = self.prompts.hashes["reason_verdict" if self.settings.reasoning else "compare"]
        found = known.vote(pair_id(prompt, a, b), principle, order, sample, self.judge, asked)
        if found is not None:
            return found
        first, second = (a, b) if order == "ab" else (b, a)
        question = principle.comparison or ""
        calls: list[Call] = []
        reasoning = ""
        try:
            if self.settings.reasoning is None:
                rendered = self.prompts.compare(prompt.messages, first, second, question)
            else:
                reasoning, call = await self._reason(prompt, first, second, principle, order, sample)
                calls.append(call)
                if call.finish_reason == "length":
                    raise TruncatedAnswer(f"the reasoning was cut at {call.max_tokens} tokens, before its verdict")
                rendered = self.prompts.reason_verdict(prompt.messages, first, second, question, reasoning)
            rendered = under(self.preamble, rendered)
            choice = await self.judge.choose(rendered.messages, rendered.options)
        except BadAnswer as error:
            return self._unread(principle, order, error, reasoning, calls)
        calls.append(call_of("compare", rendered, self.judge, CHOICE, choice))
        try:
            verdict = read_choice(choice.log_probabilities, self.settings.min_mass)
        except BadAnswer as error:
            return self._unread(principle, order, error, reasoning, calls, choice)
        probability = verdict.probabilities[0 if order == "ab" else 1]
        if self.settings.reasoning is not None:
            low, high = self.settings.reasoning.clamp
            probability = min(max(probability, low), high)
        return Vote(
            principle_id=principle.id,
            principle_hash=principle.hash,
            order=order,
            log_probabilities=choice.log_probabilities,
            mass=verdict.mass,
            probability_a=probability,
            fault="",
            reasoning=reasoning,
            calls=tuple(calls),
        )

    def _unread(
        self,
        principle: Principle,
        order: Position,
        error: BadAnswer,
        reasoning: str,
        calls: Sequence[Call],
        choice: Choice | None = None,
    ) -> Vote:
        return Vote(
            principle_id=principle.id,
            principle_hash=principle.hash,
            order=order,
            log_probabilities=choice.log_probabilities if choice else (),
            mass=choice.mass if choice else None,
            probability_a=None,
            fault=f"{type(error).__name__}: {error}",
            reasoning=reasoning,
            calls=tuple(calls),
        )

    async def _reason(
        self, prompt: Prompt, first: str, second: str, principle: Principle, order: Position, sample: int
    ) -> tuple[str, Call]:
        assert self.settings.reasoning is not None
        asked = self.prompts.reason(prompt.messages, first, second, principle.comparison or "")
        rendered = under(self.preamble, asked)
        seed = derived_seed(self.seed, prompt.item_id, "reason", principle.id, order, sample)
        return await generated("reason", self.judge, rendered, self.settings.reasoning.sampling, seed)

    async def _checks(
        self, prompt: Prompt, a: Response, b: Response, principles: Sequence[Principle], known: Known
    ) -> list[Check]:
        if not self.settings.propositions:
            return []
        asked = {item.id: item for principle in principles for item in principle.propositions}
        responses: tuple[tuple[Literal["a", "b"], Response], ...] = (("a", a), ("b", b))
        return list(
            await asyncio.gather(
                *(
                    self.check(prompt.messages, name, response.text, item, known)
                    for item in asked.values()
                    for name, response in responses
                )
            )
        )

    async def check(
        self,
        messages: Sequence[Message],
        name: Literal["a", "b"],
        text: str,
        proposition: Proposition,
        known: Known = NOTHING,
    ) -> Check:
        """A proposition put to one answer. What cannot be read is a check without a probability."""
        found = known.check(name, text, proposition.id, self.judge, self.prompts.hashes["proposition"])
        if found is not None:
            return found
        rendered = under(self.preamble, self.prompts.proposition(messages, text, proposition.question))
        choice: Choice | None = None
        call: Call | None = None
        try:
            choice = await self.judge.choose(rendered.messages, rendered.options)
            call = call_of("proposition", rendered, self.judge, CHOICE, choice)
            verdict = read_choice(choice.log_probabilities, self.settings.min_mass)
        except BadAnswer as error:
            raw = choice.log_probabilities if choice else ()
            mass = choice.mass if choice else None
            return Check(proposition.id, name, raw, mass, None, f"{type(error).__name__}: {error}", call)
        bad = verdict.probabilities[rendered.options.index(proposition.bad_answer)]
        return Check(proposition.id, name, choice.log_probabilities, verdict.mass, bad, "", call)
