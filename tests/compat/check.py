"""Do other trainers' own loaders read what Charter exports? Each in an environment of its own, under /tmp.

    python tests/compat/check.py                    # all of them
    python tests/compat/check.py openrlhf axolotl   # some

A trainer is installed without its own requirements, since most demand CUDA; what its loader needs is listed here, with
torch's CPU build from PIP_FIND_LINKS. The outcome is recorded in docs/exports.md by hand. TRL is in the test suite.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from charter.card import finished_facts  # noqa: E402
from charter.export_card import export_card  # noqa: E402
from engine.exporters.examples import Answer, prompt_of, read_examples  # noqa: E402
from engine.exporters.export import FORMATS, ExportSettings  # noqa: E402
from engine.exporters.export import export as write  # noqa: E402
from engine.exporters.form import Form, Kind  # noqa: E402
from engine.storage import Folder  # noqa: E402
from tests.engine.exporters.made_run import make_run  # noqa: E402
from tests.engine.tiny_model import make_tiny_model  # noqa: E402

PLACE = Path("/tmp/charter-compat")
TORCH = "torch==2.13.0+cpu"
# fmt: off
PACKAGES: dict[str, tuple[list[str], list[str]]] = {
    "openrlhf": (
        ["deepspeed==0.19.6", "openrlhf==0.11.2"],  # deepspeed is built here, in two minutes, without its kernels
        [TORCH, "transformers==5.15.0", "datasets", "accelerate", "peft", "einops", "pylatexenc", "sympy", "tqdm",
         "setuptools", "wheel", "hjson", "msgpack", "ninja", "psutil", "py-cpuinfo", "pydantic"],
    ),
    "verl": (
        ["verl==0.9.1"],
        [TORCH, "transformers==5.10.2", "datasets", "pandas", "omegaconf", "tensordict==0.10.0", "pillow", "codetiming",
         "hydra-core", "accelerate", "peft", "torchdata", "ray[default]", "pylatexenc"],
    ),
    "llama-factory": (
        ["llamafactory==0.9.5"],
        [TORCH, "transformers==5.6.0", "trl==0.24.0", "peft==0.18.1", "datasets==4.0.0", "accelerate==1.11.0",
         "pandas", "omegaconf", "sentencepiece", "tiktoken", "scipy", "einops", "fire", "matplotlib", "pyyaml",
         "pydantic", "pillow"],
    ),
    "axolotl": (
        ["axolotl==0.19.0", "axolotl-contribs-lgpl==0.0.7", "axolotl-contribs-mit==0.0.6"],
        [TORCH, "transformers==5.16.1", "trl==1.9.0", "peft==0.20.0", "datasets==4.8.4", "accelerate==1.13.0",
         "pydantic==2.12.5", "addict", "fire", "einops", "colorama", "scipy", "sentencepiece", "python-dotenv",
         "numba", "fastcore", "requests", "pyyaml"],
    ),
    "alignment-handbook": (
        ["alignment-handbook==0.3.0"],
        [TORCH, "transformers==4.57.1", "trl==0.9.6", "datasets==3.6.0", "pyarrow==18.1.0", "accelerate",
         "peft", "rich", "tyro"],
    ),
    "argilla": (["argilla==2.8.0"], ["httpx", "pydantic", "huggingface-hub", "tqdm", "rich", "datasets", "pillow",
                                     "standardwebhooks", "requests"]),
    "annotated-pairs": (
        ["feedback-forensics==0.5.0", "inverse-cai==0.4.8"],
        ["msgspec", "pandas", "loguru", "datasets", "python-dotenv", "scikit-learn", "regex", "hydra-core", "langchain",
         "langchain-openai", "langchain-anthropic", "langchain-community", "backoff", "matplotlib",
         "alpaca-eval==0.6.5", "setuptools<81", "gradio<6", "ijson"],
    ),
}
"""Format: the trainer's packages, installed alone, and what its loader needs beside itself."""
# fmt: on
KINDS: dict[str, tuple[Kind, ...]] = {
    "openrlhf": ("preference", "reward", "sft", "prompts"),
    "verl": ("preference", "sft", "prompts"),
    "llama-factory": ("preference", "reward", "sft", "prompts", "unpaired"),
    "axolotl": ("preference", "reward", "sft", "unpaired"),
    "alignment-handbook": ("preference", "sft"),
    "argilla": ("preference", "sft"),
    "annotated-pairs": ("preference",),
}
QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "WANDB_MODE": "disabled",
    "OMP_NUM_THREADS": "1",
}


def main(names: list[str]) -> int:
    """Checks the trainers, and returns how many failed."""
    data, model = PLACE / "run", PLACE / "tiny-llama"
    shutil.rmtree(data, ignore_errors=True)
    make_run(data)
    make_tiny_model(model)
    failed = 0
    for name in names or PACKAGES:
        print(f"{name}: {', '.join(PACKAGES[name][0])}", flush=True)
        exported, python = export(name, str(data)), environment(name)
        reader = Path(__file__).parent / f"in_{name.replace('-', '_')}.py"
        if subprocess.run([python, reader, exported, model], env=os.environ | QUIET).returncode:
            failed += 1
            print("  FAILED", flush=True)
    return failed


def environment(name: str) -> Path:
    """The Python of a trainer's own environment, made where it is not there yet."""
    place = PLACE / "environments" / name
    python = place / "bin" / "python"
    if (place / "made").exists():
        return python
    uv = [str(Path(sys.executable).parent / "uv")]
    links = ["--find-links", os.environ["PIP_FIND_LINKS"]] if "PIP_FIND_LINKS" in os.environ else []
    trainer, needed = PACKAGES[name]
    for call in (
        [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)],
        [*uv, "pip", "install", "--quiet", "--python", str(python), *links, *needed],
        [*uv, "pip", "install", "--quiet", "--python", str(python), "--no-deps", "--no-build-isolation", *trainer],
    ):
        subprocess.run(call, check=True)
    (place / "made").touch()
    return python


def export(name: str, source: str) -> Path:
    """An export of the run, and what it was made of beside it."""
    folder = PLACE / "exports" / name
    facts = finished_facts(Folder(source))
    settings = ExportSettings(name, KINDS[name], overwrite=True)
    write(source, settings, folder, card=lambda report: export_card(report, facts))
    beside = folder.parent / f"{name}.told"
    beside.mkdir(exist_ok=True)
    for kind in KINDS[name]:
        rows = plain_rows(source, kind, FORMATS[name].forms[kind])
        (beside / f"{kind}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def plain_rows(source: str, kind: Kind, form: Form) -> Iterator[dict[str, Any]]:
    """What an export of one kind holds, whatever its form."""
    for example in read_examples(source, kind):
        if isinstance(example, str) or form.refuses(example):
            continue
        sides = ("chosen", "rejected", "completion", "probability")
        said = {name: getattr(example, name) for name in sides if hasattr(example, name)}
        label = {"label": example.label} if isinstance(example, Answer) else {}
        yield {"prompt": prompt_of(example), **said, **label}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
