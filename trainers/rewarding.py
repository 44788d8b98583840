"""From completions to rewards: asks the preference models and the judge, and combines what they say.

    completions ─► Scoring × models ─┐
                └► Rater × ratings  ─┴► trainers/reward.py ─► one number a completion

TRL calls a `Rewarder` with a batch of one worker. A completion that no model can score (it is longer than a window) has
no reward and teaches nothing; it is counted. A score that is no number ends the training.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import Field, model_validator

from constitution import Constitution, draw_comparison_principles
from constitution.faults import BadInput, CharterError, Fault, did_you_mean
from engine.backends.spec import ModelSpec
from engine.model import Model, PromptTooLong, TemplateRefused
from engine.settings import Settings
from prompts.messages import Message
from prompts.rendering import PromptSet
from trainers.hosted_scoring import ScorerSettings, Scoring
from trainers.reward import (
    GATE,
    expected_rating,
    format_faults,
    format_term,
    gated,
    length_term,
    under_principle,
    weighted_sum,
    whitened,
)

Value = TypeVar("Value")


class RewardModel(ScorerSettings):
    """A preference model that a policy is rewarded by."""

    weight: float = 1.0
    """Its share of the weighted sum. A gate uses no weights."""
    constitution: str | None = None
    """For a principle-conditioned model: it is shown principles of this constitution, a name or a file."""
    principles: int = Field(default=1, ge=1)
    """Principles drawn for each prompt; the scores are averaged."""


class Rating(Settings):
    """A judge that rates completions itself, without a preference model (direct RLAIF, Lee et al. 2023)."""

    judge: ModelSpec
    """The model that is asked."""
    question: str = "How harmless, honest and helpful is the response?"
    """What it rates, on the scale of the template `rate`."""
    weight: float = 1.0
    """Its share of the weighted sum."""
    min_mass: float = Field(default=0.5, ge=0, le=1)
    """The probability that the steps of the scale must hold together; a rating with less is none."""
    templates: str | None = None
    """A folder with templates in place of ours."""


class Gate(Settings):
    """Safety where it matters, helpfulness elsewhere (Llama 2, section 3.2.3)."""

    safety: str
    """The name of the safety model."""
    helpful: str
    """The name of the helpfulness model."""
    threshold: float = Field(default=GATE, ge=0, le=1)
    """Under this σ(safety) an answer is judged by its safety alone."""
    untagged: tuple[str, ...] = ("", "benign")
    """Categories of prompts that are no safety prompts; all others are tagged."""


class LengthTerm(Settings):
    """What long completions cost."""

    free: int = Field(ge=0)
    """Tokens that cost nothing."""
    per_token: float = Field(gt=0)
    """What each token beyond costs."""


class FormatPenalties(Settings):
    """What faults of form cost."""

    empty: float = Field(default=1.0, ge=0)
    """Nothing is said."""
    truncated: float = Field(default=1.0, ge=0)
    """The completion does not end by itself."""
    template_leak: float = Field(default=1.0, ge=0)
    """Words of our prompts, or another speaker's turn, are in it."""


class RewardSettings(Settings):
    """What a policy is rewarded with."""

    models: dict[str, RewardModel] = Field(default_factory=dict)
    """Preference models, by names of your choice."""
    ratings: dict[str, Rating] = Field(default_factory=dict)
    """Judges that rate, by names of your choice."""
    gate: Gate | None = None
    """Combine two models by a gate; without it everything is summed by weight."""
    whiten: bool = True
    """Give the scores of a batch mean 0 and standard deviation 1 before the terms below are added."""
    length: LengthTerm | None = None
    """What long completions cost."""
    format: FormatPenalties = FormatPenalties()
    """What faults of form cost."""

    @model_validator(mode="after")
    def _names_agree(self) -> RewardSettings:
        if not self.models and not self.ratings:
            raise ValueError("nothing rewards: name a preference model under models, or a judge under ratings")
        if twice := self.models.keys() & self.ratings.keys():
            raise ValueError(f"'{min(twice)}' is the name of a model and of a rating: rename one")
        if self.gate is not None:
            unknown = [name for name in (self.gate.safety, self.gate.helpful) if name not in self.models]
            if unknown:
                raise ValueError(f"gate: there is no model '{unknown[0]}' ({did_you_mean(unknown[0], self.models)})")
            if self.gate.safety == self.gate.helpful or len(self.models) > 2 or self.ratings:
                raise ValueError("a gate joins exactly two models, one of safety and one of helpfulness")
        return self


class NoReward(CharterError):
    """A model gave a reward that is no number. The last checkpoint stays."""


def check_scores(name: str, scores: Sequence[float | None]) -> None:
    """Raises NoReward where a score is no number; None is a conversation that does not fit the window."""
    bad = sum(score is not None and not math.isfinite(score) for score in scores)
    if bad:
        raise NoReward(
            f"the preference model '{name}' gives a score that is no number for {bad} of {len(scores)} completions: "
            f"its weights are damaged, or its training diverged. Train it again"
        )


def check_at_work(scorer: Scoring, where: str) -> None:
    """Raises BadInput where a preference model gives no number for a plain conversation."""
    asked = [Message(role="user", content="Hello"), Message(role="assistant", content="Hello.")]
    try:
        check_scores(scorer.name, scorer.score([asked]))
    except NoReward as error:
        raise BadInput(Fault(str(error), where=where)) from None


class Rater:
    """A judge in an event loop of its own, for callers that have none."""

    def __init__(self, told: Rating) -> None:
        """Opens the judge. Raises BadInput, ModelUnavailable."""
        from engine.backends.opening import open_model

        self._told = told
        self._prompts = PromptSet.load(templates=Path(told.templates) if told.templates else None)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rater", daemon=True)
        self._thread.start()
        self._model: Model = self._wait(open_model(told.judge))

    def _wait(self, work: Coroutine[Any, Any, Value]) -> Value:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def rate(self, prompts: Sequence[Sequence[Message]], texts: Sequence[str]) -> list[float | None]:
        """The expected rating of each completion, in [−1, 1]; None where there is none. Raises ModelUnavailable."""

        async def all_of_them() -> list[float | None]:
            return list(await asyncio.gather(*(self._one(p, text) for p, text in zip(prompts, texts, strict=True))))

        return self._wait(all_of_them())

    async def _one(self, prompt: Sequence[Message], text: str) -> float | None:
        asked = self._prompts.rate(prompt, text, self._told.question)
        try:
            choice = await self._model.choose(asked.messages, asked.options)
        except (PromptTooLong, TemplateRefused):
            return None
        return expected_rating(choice.probabilities) if choice.mass >= self._told.min_mass else None

    def close(self) -> None:
        """Frees the judge."""
        self._wait(self._model.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class Rewarder:
    """TRL's reward function. `gather` gives the values of all workers; `end_ids` are the tokens that end a completion;
    the trainer knows both."""

    told: RewardSettings
    scorers: Mapping[str, Scoring]
    raters: Mapping[str, Rater]
    constitutions: Mapping[str, Constitution]
    seed: int
    end_ids: frozenset[int] = frozenset()
    gather: Callable[[torch.Tensor], torch.Tensor] = torch.clone
    plain: list[float] = field(default_factory=list)
    """The combined scores of the last batch, neither whitened nor with terms; NaN where there is none."""

    def __call__(
        self,
        prompts: Sequence[Sequence[Message]],
        completions: Sequence[Sequence[Message]],
        completion_ids: Sequence[Sequence[int]],
        log_metric: Callable[[str, float], None],
        **columns: Any,
    ) -> list[float | None]:
        """One reward a completion, None where it has none. Raises NoReward."""
        texts = [turns[-1]["content"] for turns in completions]
        scores = {
            name: torch.tensor([math.nan if score is None else score for score in found])
            for name, found in self._scores(prompts, texts, columns).items()
        }
        tagged = torch.tensor([self._is_tagged(category) for category in columns["category"]])
        reward = self._combined(scores, tagged)
        self.plain = reward.tolist()
        if self.told.whiten:
            reward = whitened(reward, self.gather(reward))
        faults = [
            format_faults(text, finished=bool(ids) and ids[-1] in self.end_ids)
            for text, ids in zip(texts, completion_ids, strict=True)
        ]
        reward = reward + format_term(faults, self.told.format.model_dump())
        if self.told.length is not None:
            tokens = torch.tensor([len(ids) for ids in completion_ids])
            reward = reward + length_term(tokens, self.told.length.free, self.told.length.per_token)
        self._log(scores, reward, faults, columns["kind"], log_metric)
        return [None if math.isnan(each) else each for each in reward.tolist()]

    def _scores(
        self, prompts: Sequence[Sequence[Message]], texts: Sequence[str], columns: Mapping[str, Any]
    ) -> dict[str, list[float | None]]:
        conversations = [
            [*prompt, Message(role="assistant", content=text)] for prompt, text in zip(prompts, texts, strict=True)
        ]
        found: dict[str, list[float | None]] = {}
        for name, scorer in self.scorers.items():
            if name in self.constitutions:
                found[name] = self._under_principles(name, scorer, conversations, columns)
            else:
                found[name] = scorer.score(conversations)
            check_scores(name, found[name])
        for name, rater in self.raters.items():
            found[name] = rater.rate(prompts, texts)
        return found

    def _under_principles(
        self, name: str, scorer: Scoring, conversations: Sequence[list[Message]], columns: Mapping[str, Any]
    ) -> list[float | None]:
        """The mean score of each conversation under the principles that are drawn for its prompt."""
        count = self.told.models[name].principles
        asked: list[list[Message]] = []
        for conversation, item, category in zip(conversations, columns["item_id"], columns["category"], strict=True):
            drawn = draw_comparison_principles(
                self.constitutions[name], seed=self.seed, item_id=item, count=count, category=category
            )
            asked += [under_principle(conversation, principle.comparison or "") for principle in drawn]
        scores = scorer.score(asked)
        groups = [scores[start : start + count] for start in range(0, len(scores), count)]
        return [None if any(score is None for score in group) else math.fsum(group) / count for group in groups]  # type: ignore[arg-type]

    def _is_tagged(self, category: str) -> bool:
        return self.told.gate is not None and category not in self.told.gate.untagged

    def _combined(self, scores: Mapping[str, torch.Tensor], tagged: torch.Tensor) -> torch.Tensor:
        gate = self.told.gate
        if gate is not None:
            return gated(scores[gate.safety], scores[gate.helpful], tagged, gate.threshold)
        weights = {name: model.weight for name, model in self.told.models.items()}
        return weighted_sum(scores, weights | {name: rating.weight for name, rating in self.told.ratings.items()})

    def _log(
        self,
        scores: Mapping[str, torch.Tensor],
        reward: torch.Tensor,
        faults: Sequence[Sequence[str]],
        kinds: Sequence[str],
        log_metric: Callable[[str, float], None],
    ) -> None:
        """What the reward is made of, for metrics.jsonl."""
        for name, values in scores.items():
            if not values.isnan().all():
                log_metric(f"score/{name}", values.nanmean().item())
        for kind in sorted(set(kinds)):
            chosen = reward[[each == kind for each in kinds]]
            if not chosen.isnan().all():
                log_metric(f"reward/{kind}", chosen.nanmean().item())
        log_metric("unscored", reward.isnan().float().mean().item())
        for fault in FormatPenalties.model_fields:
            log_metric(f"faults/{fault}", sum(fault in each for each in faults) / len(faults))
