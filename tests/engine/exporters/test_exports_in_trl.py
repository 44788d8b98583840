"""TRL's own trainers read the exports: a step of each on a tiny model, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from engine.exporters.export import ExportSettings, export
from engine.exporters.form import Kind
from tests.engine.exporters.made_run import make_run

# TRL and transformers warn of their own deprecations while they train.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
KINDS: tuple[Kind, ...] = ("preference", "reward", "sft", "prompts", "unpaired")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    run = make_run(folder / "run")
    export(run.location, ExportSettings("trl", KINDS, margin="log-odds"), folder / "trl")
    return folder / "trl"


def step(name: str, kind: Kind, exported: Path, model: Path, output: Path, **more: Any) -> tuple[Any, dict[str, float]]:
    """A trainer of TRL that took one step on an export, and what the step logged."""
    import trl

    data = load_dataset("parquet", data_files={"train": str(exported / kind / "train.parquet")}, split="train")
    arguments = getattr(trl, f"{name}Config")(
        output_dir=str(output),
        use_cpu=True,
        bf16=False,
        max_steps=1,
        per_device_train_batch_size=4,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        gradient_checkpointing=False,
        **more.pop("arguments", {}),
    )
    trainer = getattr(trl, f"{name}Trainer")(model=str(model), args=arguments, train_dataset=data, **more)
    trainer.train()
    assert len(trainer.train_dataset) == len(data), "no row is dropped"
    return trainer, next(entry for entry in trainer.state.log_history if "loss" in entry)


@pytest.mark.parametrize(("name", "kind"), [("DPO", "preference"), ("SFT", "sft"), ("KTO", "unpaired")])
def test_a_trainer_takes_a_step(name: str, kind: Kind, exported: Path, tiny_model: Path, tmp_path: Path) -> None:
    _, logged = step(name, kind, exported, tiny_model, tmp_path)
    assert logged["loss"] > 0


def test_the_reward_trainer_reads_whole_conversations_and_the_margin(
    exported: Path, tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    trainer, logged = step("Reward", "reward", exported, tiny_model, tmp_path)
    assert logged["loss"] > 0
    row = trainer.train_dataset[1]
    assert row["margin"] == pytest.approx(1.386, abs=1e-3)
    read = AutoTokenizer.from_pretrained(tiny_model).decode(row["chosen_ids"])
    assert read.count("<s>") == 1
    assert "My basil {{ wilts }}." in read
    assert "Try it" in read


def test_a_reward_function_is_given_the_tags_of_a_prompt(exported: Path, tiny_model: Path, tmp_path: Path) -> None:
    sources: list[str] = []

    def reward(completions: Sequence[object], source: Sequence[str], **columns: object) -> list[float]:
        sources.extend(source)
        return [float(number) for number in range(len(completions))]

    short = {"max_completion_length": 4, "num_generations": 2}
    step("GRPO", "prompts", exported, tiny_model, tmp_path, reward_funcs=reward, arguments=short)
    assert sources
    assert all(source.startswith("asked:") for source in sources)
