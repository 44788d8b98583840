"""The exported tables are what TRL's trainers read: a step of each on a tiny model, on the CPU."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, load_dataset

from engine.policies import Treatment
from engine.products import write_preferences, write_revisions
from engine.records import Comparison, Prompt, RevisedRow
from engine.storage import Folder, StageStore
from prompts.messages import Message
from tests.engine.rows_for_tests import ToldModel, compare_chain, prefer_longer, prompts, revise_chain

SPOKEN: list[Message] = [
    {"role": "system", "content": "Answer as a gardener."},
    {"role": "user", "content": "My basil {{ wilts }}."},
    {"role": "assistant", "content": "Is it dry?"},
    {"role": "user", "content": "Yes: very\x00 dry."},
]
"""A conversation of several turns, with what a template or a chat format might trip over."""

# TRL and transformers warn of their own deprecations while they train.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A run folder whose data sets were made by chains over a told model."""
    folder = Folder(str(tmp_path_factory.mktemp("run")))
    asked = [*prompts(3), Prompt.of(SPOKEN, index=3)]
    model = ToldModel(weigh=prefer_longer, say=lambda messages, sampling: "word " * (1 + sampling.seed % 7))
    for name, record, chain in (
        ("revisions", RevisedRow, revise_chain(model, rounds=1)),
        ("preferences", Comparison, compare_chain(model)),
    ):
        store = StageStore(folder, name, record)

        async def rows(chain: Any = chain) -> list[Any]:
            return [row for prompt in asked for row in await chain.run(prompt)]

        store.write_part("0" * 16, 0, asyncio.run(rows()), ())
        store.seal()
        keep = [Treatment("keep", ())] * len(asked)
        written = write_revisions(store, ()) if name == "revisions" else write_preferences(store, keep)
        assert written["rows"] == len(asked)
    return folder


def exported(run: Folder, name: str) -> Dataset:
    """A data set as docs/data.md says to load it."""
    return load_dataset("parquet", data_dir=run.path(f"data/{name}"), split="train")


def arguments(folder: Path) -> dict[str, Any]:
    """What every trainer is told."""
    return {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "max_steps": 1,
        "per_device_train_batch_size": 4,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "gradient_checkpointing": False,
    }


def trained(trainer: Any) -> dict[str, float]:
    """What the one step logged."""
    trainer.train()
    return next(entry for entry in trainer.state.log_history if "loss" in entry)


def test_sft_learns_the_completion_and_nothing_else(run: Folder, tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    data = exported(run, "revisions")
    assert data[3]["prompt"] == SPOKEN
    trainer = SFTTrainer(str(tiny_model), args=SFTConfig(**arguments(tmp_path)), train_dataset=data)
    assert trained(trainer)["loss"] > 0
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    row = trainer.train_dataset[3]
    assert row["input_ids"] == tokenizer.apply_chat_template(data[3]["prompt"] + data[3]["completion"])["input_ids"]
    learnt = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label >= 0]
    assert tokenizer.decode(learnt).startswith(data[3]["completion"][0]["content"])
    assert "basil" not in tokenizer.decode(learnt)


def test_dpo_reads_pairs(run: Folder, tiny_model: Path, tmp_path: Path) -> None:
    from trl import DPOConfig, DPOTrainer

    data = exported(run, "preferences")
    trainer = DPOTrainer(str(tiny_model), args=DPOConfig(**arguments(tmp_path)), train_dataset=data)
    logged = trained(trainer)
    assert logged["loss"] == pytest.approx(0.6931, abs=1e-3), "policy and reference agree before the first step"
    assert logged["logps/chosen"] != logged["logps/rejected"]


def test_reward_models_read_pairs_and_leave_the_probability_alone(
    run: Folder, tiny_model: Path, tmp_path: Path
) -> None:
    from trl import RewardConfig, RewardTrainer

    data = exported(run, "preferences")
    assert all(0.5 < row["probability"] <= 1 for row in data)
    trainer = RewardTrainer(str(tiny_model), args=RewardConfig(**arguments(tmp_path)), train_dataset=data)
    assert trained(trainer)["loss"] > 0
    assert len(trainer.train_dataset) == len(data), "no pair is dropped"
    assert {"chosen_ids", "rejected_ids"} <= set(trainer.train_dataset.column_names)
    assert all(row["chosen_ids"] != row["rejected_ids"] for row in trainer.train_dataset)
