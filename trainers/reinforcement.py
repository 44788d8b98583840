"""Reinforcement learning: a policy learns to raise its reward without straying far from where it started.

    prompts (red-team, helpful, …) ─ratio─► data/train ─► TRL's GRPO or RLOO ─► model/
                      └─► held out ─► data/watch ─► judge, drift (trainers/watch.py)
    completions ─► preference models, judges ─► trainers/reward.py ─► rewards

The reward comes from preference models or from a judge's ratings; a gate may join safety and helpfulness (Touvron et
al. 2023, section 3.2.3). The KL penalty is on unless it is set to 0.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx
import torch
from pydantic import Field, model_validator

from constitution import BadInput, Fault, check_count, content_hash, load_constitution
from constitution.faults import check_all
from engine.backends.chat import Chat, open_chat
from engine.backends.folder import fetch, model_revision
from engine.backends.opening import check_model
from engine.inputs import PromptSource, check_prompts, read_prompts
from engine.model import TemplateRefused
from engine.records import Prompt, as_table
from engine.settings import SamplingSettings, Settings
from engine.storage import Folder
from prompts.messages import Message
from trainers.fitting import Outcome, fit
from trainers.hosted_scoring import ScorerSettings, Scoring, open_scoring, ray_for
from trainers.launch import Prepared
from trainers.loading import check_policy
from trainers.mixing import drawn, mixture
from trainers.rewarding import Rater, Rewarder, RewardModel, RewardSettings, check_at_work
from trainers.scoring import check_scorer, constitutions_behind
from trainers.settings import Optimization, TrainingSettings
from trainers.watch_settings import WatchSettings

TRAIN = "data/train/part-00000.parquet"
WATCHED = "data/watch/part-00000.parquet"
SCORERS = "data/scorers.json"
"""The revisions of the preference models that a training began with."""
SERVER_SECONDS = 10
"""How long vLLM's server may take to say that it is there."""


class PromptPart(Settings):
    """A part of the prompts, such as red-team prompts."""

    sources: tuple[PromptSource, ...] = Field(min_length=1)
    """Where they are."""
    share: float | None = Field(default=None, gt=0)
    """How much of the mixture they are, relative to the other parts; without shares every prompt is taken."""


class Generation(Settings):
    """What writes the completions while the policy trains."""

    engine: Literal["auto", "vllm", "transformers"] = "auto"
    """vLLM where there is a GPU and it is installed, else transformers."""
    mode: Literal["colocate", "server"] = "colocate"
    """vLLM in the trainers' own processes, or behind `trl vllm-serve` on GPUs of its own."""
    server: str | None = None
    """The address of that server, such as http://10.0.0.2:8000."""
    gpu_memory_utilization: float = Field(default=0.3, gt=0, le=1)
    """colocate: the share of a GPU's memory that vLLM may take."""
    tensor_parallel: int = Field(default=1, ge=1)
    """colocate: how many GPUs share one copy of the policy."""
    sleep: bool = False
    """colocate: give vLLM's memory back while the policy is updated."""

    @model_validator(mode="after")
    def _server_is_named(self) -> Generation:
        if (self.mode == "server") != (self.server is not None):
            raise ValueError("server goes with mode: server, and only with it")
        if self.mode == "server" and self.engine == "transformers":
            raise ValueError("a server runs vLLM: leave out engine: transformers, or the server")
        return self

    @property
    def uses_vllm(self) -> bool:
        """Whether vLLM writes the completions on this machine."""
        if self.engine != "auto" or self.mode == "server":
            return self.engine != "transformers"
        return torch.cuda.is_available() and importlib.util.find_spec("vllm") is not None


class ReinforcementSettings(TrainingSettings):
    """A policy rewarded by preference models."""

    algorithm: Literal["grpo", "rloo"] = "grpo"
    """Group-relative advantages with KL in the loss (Shao et al. 2024), or leave-one-out baselines with KL in the
    reward (Ahmadian et al. 2024)."""
    prompts: dict[str, PromptPart] = Field(min_length=1)
    """What it answers, by names of your choice. Parts with a `share` are mixed in that ratio."""
    reward: RewardSettings
    """What it is rewarded with."""
    kl: float = Field(default=0.05, ge=0)
    """β, the weight of the KL divergence from the policy at the start. 0 switches it off, and hacking the reward on."""
    completions: int = Field(default=8, ge=2)
    """Completions of a prompt; each is compared with the mean of the others."""
    sampling: SamplingSettings = SamplingSettings()
    """How completions are drawn."""
    passes: int = Field(default=1, ge=1)
    """Updates for each batch of completions."""
    clip: float = Field(default=0.2, gt=0)
    """How far an update may move a token's probability ratio from 1."""
    scale: Literal["group", "batch", "none"] = "group"
    """grpo: what advantages are divided by, the standard deviation of a prompt's rewards or of all; or nothing."""
    generation: Generation = Generation()
    """What writes the completions."""
    watch: WatchSettings | None = None
    """What is watched on held-out prompts; without it the last weights are kept, whatever they do."""
    optimization: Optimization = Optimization(learning_rate=1e-6, batch_size=64)
    """Rates, batches and steps; a batch counts completions. Llama 2: 1e-6, 512 a batch."""

    @model_validator(mode="after")
    def _parts_agree(self) -> ReinforcementSettings:
        given = [part.share is not None for part in self.prompts.values()]
        if any(given) and not all(given):
            raise ValueError("either every part of prompts has a share, or none has")
        if self.optimization.batch_size % self.completions:
            raise ValueError(
                f"optimization.batch_size ({self.optimization.batch_size}) counts completions and must be a multiple "
                f"of completions ({self.completions})"
            )
        if self.sampling.temperature == 0:
            raise ValueError("sampling.temperature is 0: all completions of a prompt would be the same")
        return self

    @property
    def rows_a_prompt(self) -> int:
        """Completions."""
        return self.completions

    @property
    def held_models(self) -> tuple[str, ...]:
        """The policy at the start, unless adapters are trained, and preference models without actors of their own."""
        reference = (self.model,) if self.kl and self.lora is None else ()
        scorers = [*self.reward.models.values(), *([self.watch.judge] if self.watch else [])]
        return (*reference, *(scorer.model for scorer in scorers if scorer.where == "trainer"))


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A row of `data/train` and `data/watch`: a prompt to answer. `kind` is its part of the mixture."""

    item_id: str
    kind: str
    prompt: tuple[Message, ...]
    category: str
    vector: str
    source: str


def check(settings: ReinforcementSettings) -> None:
    """Raises BadInput with everything that can be seen without loading weights."""
    check_all(
        lambda: check_policy(settings),
        *(partial(_check_part, name, part) for name, part in settings.prompts.items()),
        *(partial(_check_reward_model, name, model) for name, model in settings.reward.models.items()),
        *(
            partial(check_model, rating.judge, f"reward.ratings.{name}.judge")
            for name, rating in settings.reward.ratings.items()
        ),
        lambda: _check_judge(settings),
        lambda: _check_generation(settings.generation, here=settings.launch.address is None),
    )


def _check_reward_model(name: str, model: RewardModel) -> None:
    check_scorer(model.model, f"reward.models.{name}", model.revision)
    if model.constitution is not None:
        check_count(load_constitution(model.constitution), model.principles)


def _check_generation(generation: Generation, *, here: bool) -> None:
    if not generation.uses_vllm:
        return
    if importlib.util.find_spec("vllm") is None:
        hint = "pip install 'charter[vllm]' on a GPU host, or leave engine out"
        raise BadInput(Fault("vLLM is not installed", where="generation.engine", hint=hint))
    if here and generation.mode == "server" and not torch.cuda.is_available():
        message = "a server takes the policy's new weights from GPU to GPU, and there is no GPU here"
        raise BadInput(Fault(message, where="generation.mode", hint="leave generation out, or colocate"))
    if generation.server is not None:
        _check_server(generation.server)


def _check_server(address: str) -> None:
    try:
        httpx.get(f"{address.rstrip('/')}/health", timeout=SERVER_SECONDS).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        message = f"no vLLM server answers at {address}: {error}"
        hint = "start `trl vllm-serve --model MODEL` there, and give its address as http://HOST:PORT"
        raise BadInput(Fault(message, where="generation.server", hint=hint)) from None


def _check_part(name: str, part: PromptPart) -> None:
    try:
        check_prompts(part.sources)
    except BadInput as error:
        raise BadInput([replace(fault, where=fault.where or f"prompts.{name}") for fault in error.faults]) from None


def _check_judge(settings: ReinforcementSettings) -> None:
    """The judge must be a model that the reward does not use."""
    if settings.watch is None:
        return
    where, judge = "watch.judge", settings.watch.judge
    revision = model_revision(check_scorer(judge.model, where, judge.revision))
    for name, model in settings.reward.models.items():
        if model_revision(fetch(model.model, model.revision, weights=True)) == revision:
            hint = "train another one on other pairs, or with another seed"
            raise BadInput(Fault(f"the judge is the reward's own model '{name}'", where=where, hint=hint))


def prepare(settings: ReinforcementSettings, folder: Folder, say: Callable[[str], None]) -> Prepared:
    """Reads and mixes the prompts, and writes them to `data/train` and `data/watch`."""
    left_out: Counter[str] = Counter()
    chat = open_chat(settings.spec)
    parts = {name: _rows(name, part, settings, chat, left_out) for name, part in settings.prompts.items()}
    _without_repetitions(parts, left_out)
    watched: list[PromptRow] = []
    if settings.watch is not None:
        everything = [row for rows in parts.values() for row in rows]
        watched = drawn(everything, [row.item_id for row in everything], settings.watch.prompts, settings.seed)
        if len(watched) >= len(everything):
            message = f"all {len(everything)} prompts would be watched, and none is left to train on"
            raise BadInput(Fault(message, where="watch.prompts", hint="give more prompts, or watch fewer"))
        held_out = {row.item_id for row in watched}
        parts = {name: [row for row in rows if row.item_id not in held_out] for name, rows in parts.items()}
    counts = mixture([len(rows) for rows in parts.values()], [part.share for part in settings.prompts.values()])
    rows: list[PromptRow] = []
    for part, count in zip(parts.values(), counts, strict=True):
        left_out["more than their part's share"] += len(part) - count
        rows += drawn(part, [row.item_id for row in part], count, settings.seed)
    if not rows:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in (+left_out).items()) or "the sources are empty"
        raise BadInput(Fault(f"no prompt is left to train on: {reasons}", where="prompts"))
    a_step = settings.optimization.batch_size // settings.completions
    if len(rows) < a_step:
        message = f"{len(rows)} prompts are left to train on, and a step takes {a_step}"
        hint = "give more prompts, or lower optimization.batch_size, which counts completions"
        raise BadInput(Fault(message, where="prompts", hint=hint))
    folder.write_table(TRAIN, as_table(rows, PromptRow))
    folder.write_table(WATCHED, as_table(watched, PromptRow))
    folder.write_json(SCORERS, scorer_revisions(settings))
    return Prepared(
        rows=dict(Counter(row.kind for row in rows)),
        left_out=dict(+left_out),
        data_hash=content_hash([row.item_id for row in rows]),
        tokens=sum(chat.count_tokens(row.prompt) for row in rows),
        constitutions=tuple(dict.fromkeys(_constitutions(settings.reward))),
        facts={"prompts watched": len(watched)},
    )


def _constitutions(reward: RewardSettings) -> Iterator[str]:
    """The hashes of those that preference models learnt from, and of those whose principles they are shown."""
    for model in reward.models.values():
        yield from constitutions_behind(fetch(model.model, model.revision, weights=True))
        if model.constitution is not None:
            yield load_constitution(model.constitution).hash


def _rows(
    name: str, part: PromptPart, settings: ReinforcementSettings, chat: Chat, left_out: Counter[str]
) -> list[PromptRow]:
    """The prompts of a part that leave room for a completion."""
    room = min(settings.max_length, chat.context_window) - settings.sampling.max_tokens
    rows = []
    for prompt in read_prompts(part.sources):
        try:
            length = chat.count_tokens(prompt.messages)
        except TemplateRefused:
            left_out["refused by the chat template"] += 1
            continue
        if length > room:
            left_out[f"longer than {room} tokens, which leaves no room for {settings.sampling.max_tokens}"] += 1
            continue
        rows.append(_row(name, prompt))
    return rows


def _row(kind: str, prompt: Prompt) -> PromptRow:
    return PromptRow(prompt.item_id, kind, prompt.messages, prompt.category, prompt.vector, prompt.source)


def _without_repetitions(parts: dict[str, list[PromptRow]], left_out: Counter[str]) -> None:
    """Keeps the first of equal prompts over all parts."""
    seen: set[str] = set()
    for name, rows in parts.items():
        kept = []
        for row in rows:
            if row.item_id in seen:
                left_out["seen before"] += 1
            else:
                seen.add(row.item_id)
                kept.append(row)
        parts[name] = kept


def scorer_revisions(settings: ReinforcementSettings) -> dict[str, str]:
    """What identifies the weights of each preference model, by its place in the settings."""
    named = {f"reward.models.{name}": model for name, model in settings.reward.models.items()}
    if settings.watch is not None:
        named["watch.judge"] = settings.watch.judge  # type: ignore[assignment]
    return {
        where: model_revision(fetch(model.model, model.revision, weights=True, where=where))
        for where, model in named.items()
    }


def _check_unchanged(settings: ReinforcementSettings, folder: Folder) -> None:
    """Raises BadInput where a preference model is not the one that the training began with."""
    before, now = folder.read_json(SCORERS), scorer_revisions(settings)
    changed = [where for where in now if before.get(where) != now[where]]
    if changed:
        where = changed[0]
        message = f"its weights changed since this training began: {before.get(where)} -> {now[where]}"
        hint = "put the old ones back, or train into another folder with --output"
        raise BadInput(Fault(message, where=where, hint=hint))


def train(settings: ReinforcementSettings, folder: Path) -> Outcome:
    """Trains on `data/train`, in this process or as one worker of several, and watches `data/watch`.

    Raises BadInput where a preference model is not the one that the training began with, or cannot score; NoReward
    where one gives no number while the policy trains.
    """
    from trainers.policy_trainer import policy_trainer

    place = Folder(str(folder))
    _check_unchanged(settings, place)
    watch = settings.watch
    told = [*settings.reward.models.values(), *([watch.judge] if watch else [])]
    with ray_for(told, settings.launch.address):
        scorers = {name: _at_work(model, f"reward.models.{name}") for name, model in settings.reward.models.items()}
        judge = _at_work(watch.judge, "watch.judge") if watch else None
        raters = {name: Rater(rating) for name, rating in settings.reward.ratings.items()}
        constitutions = {
            name: load_constitution(model.constitution)
            for name, model in settings.reward.models.items()
            if model.constitution is not None
        }
        rewarder = Rewarder(settings.reward, scorers, raters, constitutions, settings.seed)
        train_rows, watched = (place.read_table(name).to_pylist() for name in (TRAIN, WATCHED))
        trainer, watching = policy_trainer(settings, folder, train_rows, watched, rewarder, judge)
        outcome = fit(trainer, settings, folder)
        for rater in raters.values():
            rater.close()
    figures = dict(policy_figures(trainer.state.log_history))
    if watching is not None:
        figures |= watching.figures(trainer.state.best_global_step)
    return replace(outcome, figures=figures)


def _at_work(told: ScorerSettings, where: str) -> Scoring:
    """A preference model that has scored once."""
    scorer = open_scoring(told, where)
    check_at_work(scorer, where)
    return scorer


def policy_figures(history: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """The beginning and the end of every score and of the KL divergence: means over a tenth of the steps."""
    steps = [entry for entry in history if "reward" in entry]
    tenth = max(1, len(steps) // 10)
    names = sorted({name for entry in steps for name in entry if name.startswith("score/") or name == "kl"})
    for name in names:
        for when, entries in (("first", steps[:tenth]), ("last", steps[-tenth:])):
            values = [float(entry[name]) for entry in entries if entry.get(name) is not None]
            if values:
                yield f"{name} {when}", sum(values) / len(values)
