"""SL-CAI on the sandbox: how harmful and how helpful the micro-model is before and after, by the oracle.

    python benchmarks/sandbox_sl_cai.py --seeds 3 --output /tmp/sl-cai

Each seed runs the whole stage: the model answers the red-team prompts, criticises and revises its answers under the
shipped constitution, answers everyday prompts as it is, and is fine-tuned on both. Everything goes through the product,
in one process, without few-shots; the model is then asked without a critique, greedily and at temperature 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from charter.training import execute_training
from constitution import load_constitution
from engine.backends.opening import open_model
from engine.backends.spec import ModelSpec
from engine.here import run_stage_here
from engine.inputs import PromptSource, read_prompts
from engine.plan import StagePlan
from engine.records import Prompt, RevisedRow
from engine.settings import ReviseSettings, SamplingSettings, StageSettings
from engine.storage import Folder, StageStore, write_sealed
from prompts.rendering import PromptSet
from sandbox.examination import MAX_TOKENS, Examiner
from sandbox.figures import Share
from sandbox.oracle import judge
from sandbox.world import Group
from trainers.fine_tuning import FineTuningSettings

ROOT = Path(__file__).parents[1]
SAMPLING = SamplingSettings(max_tokens=MAX_TOKENS)
HELPFUL = SamplingSettings(temperature=0.3, max_tokens=MAX_TOKENS)
"""A model this small is often wrong at temperature 1, and would learn its own mistakes."""
BATCH = 64


def revise(model: Path, folder: Folder, seed: int, prompts: int, rounds: int) -> None:
    """The revise stage of a run, with the manifest that a fine-tuning reads."""
    source = PromptSource(path=str(ROOT / "sandbox" / "prompts" / "red_team.jsonl"), limit=prompts)
    asked = StageStore(folder, "01_prompts", Prompt)
    if not asked.is_sealed:
        write_sealed(asked, [list(read_prompts([source]))])
    law = load_constitution("harmlessness")
    spec = ModelSpec(model=str(model), batch_size=BATCH)
    plan = StagePlan(
        store=StageStore(folder, "02_revise", RevisedRow),
        settings=ReviseSettings(rounds=rounds, respond=SAMPLING, criticise=SAMPLING, rewrite=SAMPLING),
        models={"responder": spec, "critic": spec, "reviser": spec},
        constitution=law,
        prompts=PromptSet.load(use_few_shots=False),
        rows=StageSettings(),
        seed=seed,
    )
    run_stage_here(plan, asked, lambda tally: None)
    folder.write_json("manifest.json", {"constitution": {"hash": law.hash}})


def fine_tune(model: Path, folder: Path, seed: int, prompts: int, optimization: dict[str, Any]) -> Path:
    """The folder of the SL-CAI model."""
    everyday = {"path": str(ROOT / "sandbox" / "prompts" / "everyday.jsonl"), "limit": prompts}
    settings = FineTuningSettings.model_validate(
        {
            "name": f"sl-cai-{seed}",
            "output": str(folder / "sl_cai"),
            "seed": seed,
            "model": str(model),
            # What no round found fault with is the first answer still, and to a red-team prompt mostly a bad one.
            "revisions": {
                "run": str(folder / "revised"),
                "leave_out": ["empty", "truncated", "template_leak", "unchanged"],
            },
            "helpful": {"sampled": {"prompts": [everyday], "respond": HELPFUL.model_dump()}, "ratio": 1.0},
            "sampler": {"batch_size": BATCH},
            "max_length": 512,
            "optimization": optimization,
        }
    )
    resume = (folder / "sl_cai" / "settings.yaml").exists()
    return Path(execute_training("sft", settings, resume=resume).model)


async def figures(folder: Path, count: int, seed: int) -> dict[str, dict[str, Share]]:
    """Shares by temperature and name, over `count` held-out questions of each group."""
    model = await open_model(ModelSpec(model=str(folder), batch_size=BATCH, device="cpu"))
    prompts = PromptSet.load(use_few_shots=False)
    found: dict[str, dict[str, Share]] = {}
    try:
        for name, temperature in (("greedy", 0.0), ("T = 1", 1.0)):
            examiner = Examiner(model, prompts, temperature, seed)
            shares = found[name] = {}
            groups: tuple[Group, ...] = ("harmful", "benign", "lookalike")
            for group in groups:
                questions = examiner.questions(group, count)
                texts = await examiner.texts([prompts.respond(each.messages) for each in questions])
                for question, text in zip(questions, texts, strict=True):
                    judged = judge(question.request, text)
                    counted = {
                        "harmful": {"harmful": judged.harmful, "explained": judged.kind == "explained"},
                        "benign": {"benign correct": judged.kind == "correct"},
                        "lookalike": {"look-alikes correct": judged.kind == "correct"},
                    }[group]
                    refused = "evasive" if group == "harmful" else "false refusals"
                    counted[refused] = judged.kind == "evasive" if group == "harmful" else judged.refuses
                    for label, holds in counted.items():
                        shares.setdefault(label, Share(label)).add(holds)
    finally:
        await model.close()
    return found


def table(before: list[dict[str, dict[str, Share]]], after: list[dict[str, dict[str, Share]]]) -> str:
    """The seeds' shares together, with the range over seeds."""
    lines = ["| | base | SL-CAI | SL-CAI, by seed |", "|---|---|---|---|"]
    for temperature in before[0]:
        for name in before[0][temperature]:
            cells = []
            for runs in (before, after):
                shares = [run[temperature][name] for run in runs]
                whole = Share(name, held=sum(s.held for s in shares), count=sum(s.count for s in shares))
                low, high = whole.interval()
                cells.append(f"{whole.value:.1%} ({low:.1%} to {high:.1%}, n = {whole.count:,})")
            seeds = ", ".join(f"{run[temperature][name].value:.1%}" for run in after)
            lines.append(f"| {name}, {temperature} | {cells[0]} | {cells[1]} | {seeds} |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", type=Path, default=ROOT / "sandbox" / "model")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=400, help="red-team prompts, and everyday prompts")
    parser.add_argument("--rounds", type=int, default=2, help="of critique and revision")
    parser.add_argument("--count", type=int, default=200, help="held-out questions of a group and seed")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=float, default=4)
    given = parser.parse_args()
    optimization = {
        "learning_rate": given.learning_rate,
        "epochs": given.epochs,
        "batch_size": 32,
        "micro_batch_size": 32,
        "schedule": "cosine",
        "warmup": 0.05,
    }
    before, after = [], []
    for seed in range(1, given.seeds + 1):
        folder = given.output / f"seed-{seed}"
        revise(given.model, Folder(str(folder / "revised")), seed, given.prompts, given.rounds)
        trained = fine_tune(given.model, folder, seed, given.prompts, optimization)
        before.append(asyncio.run(figures(given.model, given.count, seed)))
        after.append(asyncio.run(figures(trained, given.count, seed)))
        print(table(before, after), flush=True)
    (given.output / "settings.json").write_text(json.dumps(vars(given), default=str, indent=2) + "\n")


if __name__ == "__main__":
    main()
