"""What is watched while a policy is rewarded, on prompts that it does not train on.

    every so many steps: completions ─► judge (not in the reward), drift ─► watch.jsonl, watch/step-*.jsonl
                                                 └─► the best calm checkpoint is kept; alarms end the training

The judge is a preference model that the reward does not use: where the reward goes on rising and the judge's score
falls, the policy has learnt the reward's mistakes (Gao et al. 2022).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from engine.phrases import distinct, phrases_of, widest
from prompts.messages import Message
from trainers.hosted_scoring import Scoring
from trainers.rewarding import Rewarder, check_scores
from trainers.watch_settings import WatchSettings
from trainers.watched import (
    SAMPLES,
    Observation,
    Sample,
    read_observations,
    read_samples,
    write_observations,
    write_samples,
)

JUDGED = "eval_rewards/judge/mean"
"""What transformers calls the measure by which the best checkpoint is kept."""
SURE = 2.0
"""Standard errors that a difference must exceed."""


def observed(step: int, samples: Sequence[Sample], kl: float | None) -> Observation:
    """The figures of one evaluation."""
    texts = [sample.completion for sample in samples]
    spread = widest([sample.item_id for sample in samples], [set(phrases_of(text)) for text in texts])
    return Observation(
        step=step,
        prompts=len(samples),
        reward=_mean([sample.reward for sample in samples]),
        judge=_mean([sample.judge for sample in samples]),
        kl=kl,
        tokens=_mean([float(sample.tokens) for sample in samples]),
        distinct=distinct(texts),
        phrase=spread.phrase if spread else "",
        phrase_share=len(spread.answers) / len(texts) if spread else 0.0,
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def surely_differs(before: Sequence[float], after: Sequence[float]) -> int:
    """1 where the mean of paired values rose by more than `SURE` standard errors, −1 where it fell, else 0."""
    changes = [new - old for old, new in zip(before, after, strict=True) if not math.isnan(new - old)]
    if len(changes) < 2:
        return 0
    mean = math.fsum(changes) / len(changes)
    error = math.sqrt(math.fsum((each - mean) ** 2 for each in changes) / (len(changes) - 1) / len(changes))
    return 0 if abs(mean) <= SURE * error else (1 if mean > 0 else -1)


def score(look: Observation) -> float:
    """What a checkpoint is kept by: the judge's score, which counts for nothing beside an alarm, since a policy that
    games the reward may please the judge as well."""
    return -math.inf if look.alarms else look.judge


def looks_since_best(judged: Sequence[float]) -> int:
    """How many looks ago the judge's score was highest; a look without a score is no better than any."""
    known = [-math.inf if math.isnan(score) else score for score in judged]
    return len(known) - 1 - known.index(max(known))


def alarms(
    told: WatchSettings, start: Observation, now: Observation, first: Sequence[Sample], last: Sequence[Sample]
) -> tuple[str, ...]:
    """What has gone wrong since the start, in words. `first` and `last` are the samples behind the observations."""
    found = []
    before, after = ({sample.item_id: sample for sample in samples} for samples in (first, last))
    both = sorted(before.keys() & after.keys())
    rewards = surely_differs([before[item].reward for item in both], [after[item].reward for item in both])
    judged = surely_differs([before[item].judge for item in both], [after[item].judge for item in both])
    if rewards > 0 > judged:
        found.append(
            f"the reward rises ({start.reward:.2f} to {now.reward:.2f}) and the judge's score falls "
            f"({start.judge:.2f} to {now.judge:.2f}): the policy learns the reward's mistakes"
        )
    if now.phrase_share > start.phrase_share + told.stock_phrase:
        found.append(
            f"the phrase {now.phrase!r} is in {now.phrase_share:.0%} of the answers; at the start the commonest was in "
            f"{start.phrase_share:.0%}"
        )
    if start.distinct and now.distinct is not None and now.distinct < told.distinct * start.distinct:
        found.append(f"distinct-4 fell from {start.distinct:.3f} to {now.distinct:.3f}: answers grow alike")
    shortest, longest = told.length
    if start.tokens and not shortest <= now.tokens / start.tokens <= longest:
        found.append(f"answers have {now.tokens:.0f} tokens on average; at the start {start.tokens:.0f}")
    return tuple(found)


@dataclass
class Watch(TrainerCallback):  # type: ignore[misc]
    """Judges what is generated in an evaluation, and looks at it when the evaluation ends.

    It is a reward function of TRL's, of weight 0, which scores in evaluations only, and a callback.
    `gather` gives the lists of all workers as one; `is_training` says that no evaluation is under way.
    """

    told: WatchSettings
    judge: Scoring
    rewarder: Rewarder
    folder: Path
    resumed_at: int
    gather: Callable[[list[Any]], list[Any]] = list
    is_training: Callable[[], bool] = bool
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seen = read_observations(self.folder) if self.resumed_at else []
        self.seen = [each for each in self.seen if each.step <= self.resumed_at]

    def __call__(
        self,
        prompts: Sequence[Sequence[Message]],
        completions: Sequence[Sequence[Message]],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float | None]:
        """The judge's scores in an evaluation; none while the policy trains."""
        if self.is_training():
            return [None] * len(prompts)
        texts = [turns[-1]["content"] for turns in completions]
        scores = self.judge.score(
            [[*prompt, Message(role="assistant", content=text)] for prompt, text in zip(prompts, texts, strict=True)]
        )
        check_scores("judge", scores)
        mine = [
            Sample(item, prompt[-1]["content"], text, len(ids), reward, math.nan if score is None else score)
            for item, prompt, text, ids, reward, score in zip(
                columns["item_id"], prompts, texts, completion_ids, self.rewarder.plain, scores, strict=True
            )
        ]
        self.samples += self.gather(mine)
        return scores

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, Any], **_: Any) -> None:
        """Looks at the completions of the evaluation that ended. The same on every worker."""
        distinct_prompts = {sample.item_id: sample for sample in self.samples}  # the last batch may be filled up
        samples, self.samples = list(distinct_prompts.values()), []
        now = observed(state.global_step, samples, metrics.get("eval_kl"))
        if self.seen:
            first = read_samples(self.folder, self.seen[0].step)
            now = replace(now, alarms=alarms(self.told, self.seen[0], now, first, samples))
        metrics[JUDGED] = score(now)  # in TRL's own mean, what fills up the last batch counts again
        self.seen.append(now)
        if state.is_world_process_zero:
            write_samples(self.folder, now.step, samples)
            write_observations(self.folder, self.seen)
            for alarm in now.alarms:
                print(f"step {now.step}: {alarm}", file=sys.stderr, flush=True)
        looks = [score(each) for each in self.seen[1:]]  # the policy at the start is no checkpoint
        is_spent = bool(looks) and looks_since_best(looks) >= self.told.patience
        if is_spent or (now.alarms and self.told.on_alarm == "stop"):
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Says so where no checkpoint was calm."""
        if state.is_world_process_zero and len(self.seen) > 1 and all(each.alarms for each in self.seen[1:]):
            place = self.folder / SAMPLES
            print(f"no look was without an alarm: the last policy is kept, see {place}", file=sys.stderr, flush=True)

    def figures(self, best: int | None) -> dict[str, float]:
        """What came of it, for the card: the start, the step that was kept, and the end."""
        start, end = self.seen[0], self.seen[-1]
        kept = next((each for each in self.seen if each.step == best), end)
        named = {
            "judge at the start": start.judge,
            "judge of the kept checkpoint": kept.judge,
            "alarms of the kept checkpoint": float(len(kept.alarms)),
            "judge at the end": end.judge,
            "reward at the start": start.reward,
            "reward at the end": end.reward,
            "tokens an answer at the start": start.tokens,
            "tokens an answer at the end": end.tokens,
            "distinct-4 at the start": start.distinct,
            "distinct-4 at the end": end.distinct,
            "share of the commonest phrase at the start": start.phrase_share,
            "share of the commonest phrase at the end": end.phrase_share,
            "KL at the end": end.kl,
            "alarms": float(sum(bool(each.alarms) for each in self.seen)),
        }
        return {name: value for name, value in named.items() if value is not None}
