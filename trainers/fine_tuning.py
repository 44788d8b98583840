"""Supervised fine-tuning: a policy learns answers. TRL trains; what it learns is chosen and counted here.

    revisions (a run) · demonstrations (files) · distilled · best of K (the policy's own answers) ─┐
    helpful (files, or the policy's own answers), in a stated ratio ───────────────────────────────┤
                        FineTuningTrainer ◄── data/train ◄── tokens, with the loss on the answer only ◄──┘

The critiques are never in the prompt: a row is the conversation and the revised answer (Bai et al. 2022, section 3.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pydantic import Field, model_validator

from constitution.faults import BadInput, Fault
from engine.backends.chat import open_chat
from engine.backends.folder import fetch
from engine.backends.opening import check_model
from engine.inputs import PromptSource, check_prompts
from engine.settings import AnswerFlag, SampleSettings, Settings
from engine.storage import Folder
from prompts.preprompts import read_preprompts
from trainers.context_distillation import DistillationSettings, distilled
from trainers.demonstrations import (
    Demonstration,
    Encoded,
    Which,
    demonstrations,
    encode,
    read_rows,
    revised_rows,
    revisions,
    rows_hash,
    write_rows,
)
from trainers.fitting import Outcome, fit, training_arguments
from trainers.launch import Prepared
from trainers.loading import check_policy, load_tokenizer, load_weights, lora_config
from trainers.mixing import drawn, mixture
from trainers.rejection_sampling import RejectionSettings, best_answers, check_earlier
from trainers.sampling import AnswerSettings, Sampler, SamplerSettings, sampled_rows, set_aside, usable
from trainers.scoring import check_scorer, constitutions_behind
from trainers.settings import Optimization, TrainingSettings


class RevisionSource(Settings):
    """Revised answers of a Charter run."""

    run: str
    """The run folder."""
    which: Which = "final"
    """The answer that stood at the end, every revision, or those of the first `up_to` rounds."""
    up_to: int | None = Field(default=None, ge=1)
    """Rounds, with `which: up_to_n`."""
    leave_out: tuple[AnswerFlag, ...] = ("empty", "truncated", "template_leak")
    """Answers with one of these flags are counted and not learnt."""

    @model_validator(mode="after")
    def _rounds_are_named(self) -> RevisionSource:
        if (self.which == "up_to_n") != (self.up_to is not None):
            raise ValueError("up_to goes with which: up_to_n, and only with it")
        return self


class HelpfulSource(Settings):
    """Helpful answers, so that the policy does not forget to be useful."""

    answers: tuple[PromptSource, ...] = ()
    """Files, folders or data sets with prompts and answers."""
    sampled: AnswerSettings | None = None
    """Prompts that the model itself answers before it is trained, as in the paper: 2 samples a prompt."""
    ratio: float | None = Field(default=None, gt=0)
    """Helpful rows for every other row; all there are, where it is not given. The largest mixture is made that holds
    the ratio and shows no row twice."""

    @model_validator(mode="after")
    def _there_is_a_source(self) -> HelpfulSource:
        if not self.answers and self.sampled is None:
            raise ValueError("no helpful rows: give answers, or sampled prompts")
        return self


class FineTuningSettings(TrainingSettings):
    """Supervised fine-tuning of a policy on answers."""

    revisions: RevisionSource | None = None
    """SL-CAI: revised answers (Bai et al. 2022, section 3)."""
    demonstrations: tuple[PromptSource, ...] = ()
    """Files with prompts and the answers to learn, such as safety demonstrations (Llama 2, section 4.2.2)."""
    distillation: DistillationSettings | None = None
    """Safety context distillation: answers under preprompts, learnt without them."""
    rejection_sampling: RejectionSettings | None = None
    """The best of several answers, by a preference model."""
    helpful: HelpfulSource | None = None
    """What is mixed in."""
    sampler: SamplerSettings = SamplerSettings()
    """What runs the model where it is to answer prompts first."""
    packing: bool = False
    """Fill blocks of `max_length` tokens with several rows that do not see each other. A batch then counts blocks."""
    optimization: Optimization = Optimization(learning_rate=1e-5, batch_size=32)
    """Rates, batches and steps. The paper: one epoch at half the pretraining rate, held constant."""

    @model_validator(mode="after")
    def _something_is_learnt(self) -> FineTuningSettings:
        parts = (self.revisions, self.demonstrations, self.distillation, self.rejection_sampling, self.helpful)
        if not any(parts):
            raise ValueError(
                "nothing to learn: give revisions, demonstrations, distillation, rejection_sampling or helpful"
            )
        return self


def check(settings: FineTuningSettings) -> None:
    """Raises BadInput with everything that can be seen without loading weights."""
    faults: list[Fault] = []
    for work in _checks(settings):
        try:
            work()
        except BadInput as error:
            faults.extend(error.faults)
    if faults:
        raise BadInput(faults)


def _checks(settings: FineTuningSettings) -> Iterator[Callable[[], object]]:
    yield partial(check_policy, settings)
    if settings.revisions:
        yield partial(revised_rows, settings.revisions.run, "revisions.run")
    for answers in (settings.demonstrations, settings.helpful.answers if settings.helpful else ()):
        if answers:
            yield partial(_check_answers, answers)
    asked = [settings.distillation, settings.rejection_sampling, settings.helpful and settings.helpful.sampled]
    for source in asked:
        if source:
            yield partial(check_prompts, source.prompts)
    if any(asked):
        yield partial(check_model, settings.sampler.spec(settings.spec), "sampler")
    if settings.distillation:
        yield partial(check_scorer, settings.distillation.scorer, "distillation.scorer")
        yield partial(read_preprompts, settings.distillation.folder)
    if settings.rejection_sampling:
        yield partial(check_scorer, settings.rejection_sampling.scorer, "rejection_sampling.scorer")
        yield partial(check_earlier, settings.rejection_sampling.earlier)


def _check_answers(sources: tuple[PromptSource, ...]) -> None:
    check_prompts(sources)
    for _ in demonstrations(sources, ""):
        pass


def prepare(settings: FineTuningSettings, folder: Folder, say: Callable[[str], None]) -> Prepared:
    """Chooses, mixes and tokenises the rows, and writes them to `data/train`."""
    left_out: Counter[str] = Counter()
    odd: Counter[str] = Counter()
    constitutions: list[str] = []
    sampler = Sampler(settings.sampler.spec(settings.spec), settings.launch.address, folder, settings.seed, say)
    rows: list[Demonstration] = list(demonstrations(settings.demonstrations, "demonstrations"))
    if settings.revisions:
        source = settings.revisions
        store, manifest = revised_rows(source.run, "revisions.run")
        constitutions.append(manifest["constitution"]["hash"])
        rows += revisions(store, source.which, source.up_to, source.leave_out, left_out)
    if settings.distillation:
        rows += distilled(settings.distillation, sampler, left_out)
    if settings.rejection_sampling:
        rows += best_answers(settings.rejection_sampling, sampler, left_out)
    for part in (settings.distillation, settings.rejection_sampling):
        constitutions += constitutions_behind(fetch(part.scorer, None, weights=True)) if part else ()
    helpful = list(_helpful(settings.helpful, sampler, left_out)) if settings.helpful else []
    chat = open_chat(settings.spec)
    encoded = list(encode(rows, chat, settings.max_length, left_out, odd))
    mixed = _mixed(encoded, list(encode(helpful, chat, settings.max_length, left_out, odd)), settings, left_out)
    if not mixed:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "the sources are empty"
        raise BadInput(Fault(f"no row is left to train on: {reasons}", hint="see max_length and leave_out"))
    write_rows(mixed, folder)
    return Prepared(
        rows=dict(Counter(each.row.kind for each in mixed)),
        left_out=dict(left_out),
        data_hash=rows_hash(each.row for each in mixed),
        tokens=sum(len(each.tokens) for each in mixed),
        constitutions=tuple(dict.fromkeys(constitutions)),
        facts={name: count for name, count in odd.items() if count},
    )


def _helpful(settings: HelpfulSource, sampler: Sampler, left_out: Counter[str]) -> Iterator[Demonstration]:
    yield from demonstrations(settings.answers, "helpful")
    if settings.sampled is None:
        return
    how = SampleSettings(samples=settings.sampled.samples, respond=settings.sampled.respond)
    store = sampler.answers("helpful", settings.sampled.prompts, how)
    left_out.update(set_aside(store))
    for row in sampled_rows(store):
        for response in row.responses:
            if usable(response):
                yield Demonstration(
                    row.item_id, "helpful", f"{row.source}, sample {response.sample}", row.messages, response.text
                )
            else:
                left_out["empty or truncated (helpful)"] += 1


def _mixed(
    rows: list[Encoded], helpful: list[Encoded], settings: FineTuningSettings, left_out: Counter[str]
) -> list[Encoded]:
    """All rows and the helpful ones in the stated ratio. What is too much on either side is counted."""
    ratio = settings.helpful.ratio if settings.helpful else None
    if not rows or not helpful or ratio is None:
        return rows + helpful
    counts = mixture([len(rows), len(helpful)], [1.0, ratio])
    mixed: list[Encoded] = []
    for name, part, count in zip(("other", "helpful"), (rows, helpful), counts, strict=True):
        # By what a row says, not by where it comes from: a run in another folder draws the same.
        mixed += drawn(part, [f"{each.row.item_id} {each.row.completion}" for each in part], count, settings.seed)
        left_out[f"over the ratio ({name} rows)"] += len(part) - count
    return mixed


def train(settings: FineTuningSettings, folder: Path) -> Outcome:
    """Trains on `data/train`, in this process or as one worker of several."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig

    from trainers.fine_tuning_trainer import FineTuningTrainer

    table = read_rows(Folder(str(folder)), ["input_ids", "labels"])
    trainer = FineTuningTrainer(
        load_weights(settings, AutoModelForCausalLM),
        args=SFTConfig(
            **training_arguments(settings, folder),
            max_length=settings.max_length,
            packing=settings.packing,
            dataset_kwargs={"skip_prepare_dataset": not settings.packing},  # the rows are tokens already
        ),
        train_dataset=Dataset(table),
        processing_class=load_tokenizer(settings),
        peft_config=lora_config(settings.lora, "CAUSAL_LM") if settings.lora else None,
    )
    return fit(trainer, settings, folder)
