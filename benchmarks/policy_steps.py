"""A step of reinforcement learning, split into generation, scoring and update.

    python benchmarks/policy_steps.py [--algorithm grpo] [--steps 6] [--model FOLDER --scorer FOLDER]
    python benchmarks/policy_steps.py --model FOLDER --scorer FOLDER --lora 16 --engine vllm --batch 512     on a GPU
    python benchmarks/policy_steps.py --shape 1b --engine vllm --batch 256 --max-tokens 256 [--sleep]        on a GPU

On a machine with a GPU and vLLM, vLLM generates in the trainer's process; else, or with `--engine transformers`,
transformers does. The policy and the preference model are made with random weights unless they are named, so that
completions run to their full length.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from small_model import SHAPES, make_model
from subjects import setting
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from engine.storage import Folder
from trainers import policy_trainer
from trainers.fitting import METRICS
from trainers.reinforcement import ReinforcementSettings, prepare, train
from trainers.rewarding import Rewarder

WARM_UP = 1
DIFFERENCE = "sampling/sampling_logp_difference/mean"
"""TRL's name of a metric."""


class Stopwatch:
    """Seconds spent in functions, call by call, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[name].append(time.perf_counter() - start)

        return timed


def made_scorer(model: str, folder: Path) -> str:
    """A preference model with random weights over the policy's."""
    scorer = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype="float32")
    scorer.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return str(folder)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", help="the policy; without it, one is made with random weights")
    parser.add_argument("--scorer", help="the preference model")
    parser.add_argument("--engine", choices=["auto", "vllm", "transformers"], default="auto", help="writes completions")
    parser.add_argument("--shape", choices=sorted(set(SHAPES) - {"8b"}), default="small", help="of the policy made")
    parser.add_argument("--sleep", action="store_true", help="vLLM gives its memory back while the policy is updated")
    parser.add_argument("--gpu-memory", type=float, default=0.3, help="the share of a GPU's memory that vLLM takes")
    parser.add_argument("--lora", type=int, help="the rank of adapters; without it, all weights are trained")
    parser.add_argument("--algorithm", choices=["grpo", "rloo"], default="grpo")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--completions", type=int, default=8, help="of a prompt")
    parser.add_argument("--batch", type=int, default=32, help="completions of a step")
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=64)
    flags = parser.parse_args()
    watch = Stopwatch()
    for name in ("PolicyGrpoTrainer", "PolicyRlooTrainer"):
        trainer: Any = getattr(policy_trainer, name)
        trainer._generate_single_turn = watch.around("generation", trainer._generate_single_turn)
        trainer.training_step = watch.around("all", trainer.training_step)
    Rewarder.__call__ = watch.around("scoring", Rewarder.__call__)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = flags.model or str(make_model(folder / "policy", flags.shape))
        scorer = flags.scorer or made_scorer(model, folder / "scorer")
        prompts = folder / "prompts.jsonl"
        count = flags.batch // flags.completions * (flags.steps + WARM_UP)
        rows = [{"prompt": f"Question {number}: how should it be done, and why?"} for number in range(count)]
        prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        told = ReinforcementSettings.model_validate(
            {
                "name": "measured",
                "model": model,
                "algorithm": flags.algorithm,
                "prompts": {"all": {"sources": [{"path": str(prompts)}]}},
                "reward": {"models": {"one": {"model": scorer}}},
                "completions": flags.completions,
                "sampling": {"max_tokens": flags.max_tokens},
                "generation": {
                    "engine": flags.engine,
                    "gpu_memory_utilization": flags.gpu_memory,
                    "sleep": flags.sleep,
                },
                "lora": {"rank": flags.lora} if flags.lora else None,
                "optimization": {
                    "batch_size": flags.batch,
                    "micro_batch_size": flags.micro_batch,
                    "max_steps": flags.steps + WARM_UP,
                },
            }
        )
        run = folder / "run"
        prepare(told, Folder(str(run)), print)
        train(told, run)
        tell(watch, flags)
        tell_agreement(run / METRICS)
    print(setting("vllm" if told.generation.uses_vllm else "transformers"))


def tell(watch: Stopwatch, flags: argparse.Namespace) -> None:
    """The table: medians over steps, without the warm-up."""
    accumulation = len(watch.seconds["all"]) // (flags.steps + WARM_UP)
    whole = [
        sum(watch.seconds["all"][start : start + accumulation])
        for start in range(0, len(watch.seconds["all"]), accumulation)
    ]
    parts = {name: watch.seconds[name] for name in ("generation", "scoring")}
    update = [total - sum(part[step] for part in parts.values()) for step, total in enumerate(whole)]
    print(f"| {flags.algorithm}: {flags.batch} completions of {flags.max_tokens} tokens | seconds a step | share |")
    print("|---|---|---|")
    step = statistics.median(whole[WARM_UP:])
    for name, seconds in {**parts, "update, with log-probabilities": update, "step": whole}.items():
        middle = statistics.median(seconds[WARM_UP:])
        print(f"| {name} | {middle:.2f} | {middle / step:.0%} |")


def tell_agreement(file: Path) -> None:
    """How far vLLM's log-probabilities of its completions are from the trainer's: they part where vLLM lacks the
    weights of the last update."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    found = [line[DIFFERENCE] for line in lines if DIFFERENCE in line]
    if found:
        told = ", ".join(f"{value:.4f}" for value in found)
        print(f"difference of the log-probabilities of vLLM and trainer, mean by step: {told}")


if __name__ == "__main__":
    main()
