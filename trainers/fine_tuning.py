"""Supervised fine-tuning: a policy learns answers. TRL's SFTTrainer trains; what it learns is chosen and counted here.

    revisions (of a run) ─┐
    demonstrations (files) ┼─► rows ─► tokens, loss on the answer only ─► data/train ─► SFTTrainer ─► model/
    helpful (files) ──ratio┘

The critiques are never in the prompt: a row is the conversation and the revised answer (Bai et al. 2022, section 3.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, model_validator

from constitution.faults import BadInput, Fault
from engine.backends.chat import open_chat
from engine.inputs import PromptSource, check_prompts
from engine.records import as_table
from engine.settings import AnswerFlag, Settings
from engine.storage import Folder
from trainers.demonstrations import (
    Demonstration,
    EncodedRow,
    Which,
    demonstrations,
    encode,
    revised_rows,
    revisions,
    rows_hash,
)
from trainers.fitting import Outcome, fit, training_arguments
from trainers.launch import Prepared
from trainers.loading import check_training_model, load_tokenizer, load_weights, lora_config
from trainers.mixing import drawn, mixture
from trainers.settings import Optimization, TrainingSettings

TRAIN = "data/train/part-00000.parquet"


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

    answers: tuple[PromptSource, ...] = Field(min_length=1)
    """Files, folders or data sets with prompts and answers."""
    ratio: float | None = Field(default=None, gt=0)
    """Helpful rows for every other row; all there are, where it is not given. The largest mixture is made that holds
    the ratio and shows no row twice."""


class FineTuningSettings(TrainingSettings):
    """Supervised fine-tuning of a policy on answers."""

    revisions: RevisionSource | None = None
    """SL-CAI: revised answers (Bai et al. 2022, section 3)."""
    demonstrations: tuple[PromptSource, ...] = ()
    """Files with prompts and the answers to learn, such as safety demonstrations (Llama 2, section 4.2.2)."""
    helpful: HelpfulSource | None = None
    """What is mixed in."""
    packing: bool = False
    """Fill blocks of `max_length` tokens with several rows that do not see each other. A batch then counts blocks."""
    optimization: Optimization = Optimization(learning_rate=1e-5, batch_size=32)
    """Rates, batches and steps. The paper: one epoch at half the pretraining rate, held constant."""

    @model_validator(mode="after")
    def _something_is_learnt(self) -> FineTuningSettings:
        if self.revisions is None and not self.demonstrations and self.helpful is None:
            raise ValueError("nothing to learn: give revisions, demonstrations or helpful")
        return self


def check(settings: FineTuningSettings) -> None:
    """Raises BadInput with everything that can be seen without loading weights."""
    faults: list[Fault] = []

    def attempt(work: Callable[[], object]) -> None:
        try:
            work()
        except BadInput as error:
            faults.extend(error.faults)

    attempt(lambda: check_training_model(settings))
    if settings.revisions:
        run = settings.revisions.run
        attempt(lambda: revised_rows(run, "revisions.run"))
    for sources in (settings.demonstrations, settings.helpful.answers if settings.helpful else ()):
        if sources:
            attempt(lambda sources=sources: _check_answers(sources))  # type: ignore[misc]
    if faults:
        raise BadInput(faults)


def _check_answers(sources: tuple[PromptSource, ...]) -> None:
    check_prompts(sources)
    for _ in demonstrations(sources, ""):
        pass


def prepare(settings: FineTuningSettings, folder: Folder, say: Callable[[str], None]) -> Prepared:
    """Chooses, mixes and tokenises the rows, and writes them to `data/train`."""
    left_out: Counter[str] = Counter()
    odd: Counter[str] = Counter()
    constitutions: list[str] = []
    rows: list[Demonstration] = list(demonstrations(settings.demonstrations, "demonstrations"))
    if settings.revisions:
        source = settings.revisions
        store, manifest = revised_rows(source.run, "revisions.run")
        constitutions.append(manifest["constitution"]["hash"])
        rows += revisions(store, source.which, source.up_to, source.leave_out, left_out)
    helpful: list[Demonstration] = []
    if settings.helpful:
        helpful = list(demonstrations(settings.helpful.answers, "helpful"))
    chat = open_chat(settings.spec)
    encoded = list(encode(rows, chat, settings.max_length, left_out, odd))
    mixed = _mixed(encoded, list(encode(helpful, chat, settings.max_length, left_out, odd)), settings, left_out)
    if not mixed:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "the sources are empty"
        raise BadInput(Fault(f"no row is left to train on: {reasons}", hint="see max_length and leave_out"))
    folder.write_table(TRAIN, as_table(mixed, EncodedRow))
    return Prepared(
        rows=dict(Counter(row.kind for row in mixed)),
        left_out=dict(left_out),
        data_hash=rows_hash(mixed),
        tokens=sum(len(row.input_ids) for row in mixed),
        constitutions=tuple(constitutions),
        facts={name: count for name, count in odd.items() if count},
    )


def _mixed(
    rows: list[EncodedRow], helpful: list[EncodedRow], settings: FineTuningSettings, left_out: Counter[str]
) -> list[EncodedRow]:
    """All rows and the helpful ones in the stated ratio. What is too much on either side is counted."""
    ratio = settings.helpful.ratio if settings.helpful else None
    if not rows or not helpful or ratio is None:
        return rows + helpful
    counts = mixture([len(rows), len(helpful)], [1.0, ratio])
    mixed: list[EncodedRow] = []
    for part, count in zip((rows, helpful), counts, strict=True):
        mixed += drawn(part, [f"{row.item_id} {row.origin}" for row in part], count, settings.seed)
        left_out[f"over the ratio ({part[0].kind})"] += len(part) - count
    return mixed


def train(settings: FineTuningSettings, folder: Path) -> Outcome:
    """Trains on `data/train`, in this process or as one worker of several."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    table = Folder(str(folder)).read_table(TRAIN, ["input_ids", "labels"])
    trainer = SFTTrainer(
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
