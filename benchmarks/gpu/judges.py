"""Labels a second of a judge run in several ways, on the same pairs.

    python benchmarks/gpu/judges.py --shape 8b --pairs 256            one GPU or more, random weights
    python benchmarks/gpu/judges.py --pairs 4 --principles 4          two cores, to try it

    plain         the judge as a run starts it, with the prefix cache
    no cache      the same without the prefix cache
    fp8           weights in 8 bits
    adapter       the same weights with a LoRA adapter of rank 16 beside them
    parallel      one copy over two GPUs
    shared        two copies on one GPU, each with less than half of its memory, half of the pairs each, at once

A way that this machine or vLLM refuses has the reason in its row. Every way runs in a process of its own, so that the
memory of one is free for the next; the model is made once. The ratio is to `plain`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))  # the other benchmarks' helpers

from feedback_layouts import Pass, judge_chain, one_pass
from subjects import add_model_flags, marked, model_spec, read_pairs, setting

from constitution import load_constitution
from constitution.faults import CharterError
from engine.backends.opening import open_model
from engine.backends.spec import ModelSpec
from engine.model import Model
from prompts.rendering import PromptSet

WAYS = ("plain", "no cache", "fp8", "adapter", "parallel", "shared")
RANK = 16


def made_adapter(model: Path, folder: Path) -> Path:
    """A LoRA adapter with random weights over the attention of a Llama."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    width = config["hidden_size"]
    head = config.get("head_dim") or width // config["num_attention_heads"]
    sizes = {"q_proj": config["num_attention_heads"] * head, "v_proj": config["num_key_value_heads"] * head}
    weights = {}
    torch.manual_seed(0)
    for layer in range(config["num_hidden_layers"]):
        for name, size in sizes.items():
            place = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{place}.lora_A.weight"] = torch.randn(RANK, width) / width**0.5
            weights[f"{place}.lora_B.weight"] = torch.randn(size, RANK) / 100
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": sorted(sizes), "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(told | {"task_type": "CAUSAL_LM"}), encoding="utf-8")
    return folder


def spec_of(way: str, plain: ModelSpec, folder: Path) -> ModelSpec:
    """The judge's entry for one way."""
    changes: dict[str, dict[str, Any]] = {
        "plain": {},
        "no cache": {"engine_args": {**plain.engine_args, "enable_prefix_caching": False}},
        "fp8": {"quantization": "fp8"},
        "adapter": {"adapter": str(folder / "adapter")},
        "parallel": {"tensor_parallel": 2},
        "shared": {"gpu_memory_utilization": 0.45},
    }
    return plain.model_copy(update=changes[way])


async def measured(way: str, spec: ModelSpec, flags: argparse.Namespace) -> dict[str, float]:
    """Seconds to start, labels a second, and the share of the prompt tokens that came from the cache."""
    pairs = read_pairs(flags.data, flags.pairs)
    constitution, prompts = load_constitution("harmlessness"), PromptSet.load()
    start = time.perf_counter()
    judges = [await open_model(spec) for _ in range(2 if way == "shared" else 1)]
    started = time.perf_counter() - start

    async def over(judge: Model, share: list[Any], mark: int) -> Pass:
        chain = judge_chain(judge, constitution, prompts, flags.principles)
        return await one_pass(chain, [(marked(prompt, mark), a, b) for prompt, a, b in share], 256)

    try:
        await asyncio.gather(*(over(judge, pairs[:2], 0) for judge in judges))  # threads, graphs, and the few-shots
        shares = [pairs[place :: len(judges)] for place in range(len(judges))]
        start = time.perf_counter()
        passes = await asyncio.gather(*(over(judge, share, 1) for judge, share in zip(judges, shares, strict=True)))
        seconds = time.perf_counter() - start
    finally:
        for judge in judges:
            await judge.close()
    cached = sum(each.cached_tokens for each in passes) / sum(each.prompt_tokens for each in passes)
    return {"started": started, "speed": sum(each.labels for each in passes) / seconds, "cached": cached}


def in_own_process(way: str, spec: ModelSpec) -> dict[str, Any]:
    """What `measured` finds, or why this way cannot be run."""
    command = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--spec", spec.model_dump_json()]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = ran.stdout.strip().splitlines()
    if ran.returncode == 0 and lines:
        return dict(json.loads(lines[-1]))
    return {"error": (ran.stderr.strip().splitlines() or ["it ended without a word"])[-1]}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_flags(parser)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--principles", type=int, default=16)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--spec", type=ModelSpec.model_validate_json, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.way:
        try:
            found: dict[str, Any] = asyncio.run(measured(flags.way, flags.spec, flags))
        except CharterError as error:
            found = {"error": str(error).splitlines()[0]}
        print(json.dumps(found))
        return
    print(f"| judge | to start, s | labels/s, {flags.principles} principles | cached | ratio |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        plain = model_spec(flags, Path(place) / "model")
        made_adapter(Path(plain.model), Path(place) / "adapter")
        first = 0.0
        for way in flags.ways:
            found = in_own_process(way, spec_of(way, plain, Path(place)))
            if "error" in found:
                print(f"| {way} | – | {found['error']} | – | – |", flush=True)
                continue
            first = first or found["speed"]
            ratio = f"{found['speed'] / first:.2f}"
            print(
                f"| {way} | {found['started']:.0f} | {found['speed']:,.1f} | {found['cached']:.0%} | {ratio} |",
                flush=True,
            )
    print(setting(flags.backend))


if __name__ == "__main__":
    main()
