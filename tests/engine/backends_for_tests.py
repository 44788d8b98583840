"""The models that the contract tests run against: each opened once, on the session's event loop."""

from __future__ import annotations

import gc
import importlib.util
import os
import socket
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from engine.backends.opening import open_model
from engine.backends.reaper import Reaper, end, with_start_times
from engine.backends.spec import ModelSpec
from engine.backends.vllm_server import COMMAND, ROOT
from engine.model import Model
from prompts.messages import Message

WINDOW = 2048
START_LIMIT = 600.0
"""Seconds that an engine may take to start on a busy machine."""
SERVED_NAME = "tiny"
VLLM_MISSING = "vllm is not installed"


def user(text: str) -> list[Message]:
    """A conversation of one user turn."""
    return [Message(role="user", content=text)]


def asked(text: str, prefill: str = "The answer is: (") -> list[Message]:
    """A conversation that the assistant has begun to answer."""
    return [*user(text), Message(role="assistant", content=prefill)]


def has_vllm() -> bool:
    """Whether vLLM can be imported."""
    return importlib.util.find_spec("vllm") is not None


NEEDS_VLLM = [pytest.mark.vllm, pytest.mark.skipif(not has_vllm(), reason=VLLM_MISSING)]
VLLM = pytest.param("vllm", marks=NEEDS_VLLM)
OPENAI = pytest.param("openai", marks=NEEDS_VLLM)
OPENAI_ALONE = pytest.param("openai without tokenizer", marks=NEEDS_VLLM)
EVERY = ["scripted", "transformers", VLLM, OPENAI]
REAL = ["transformers", VLLM, OPENAI, OPENAI_ALONE]


@dataclass
class ServeProcess:
    """A `vllm serve` on a loopback port, started without waiting and ended with all its children."""

    folder: Path
    process: subprocess.Popen[bytes] = field(init=False)
    reaper: Reaper = field(default_factory=Reaper)
    port: int = field(init=False)
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-c", COMMAND, "serve", str(self.folder)]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--served-model-name", SERVED_NAME]
        command += ["--dtype", "float32", "--max-model-len", str(WINDOW), "--max-num-seqs", "32", "--enforce-eager"]
        command += ["--generation-config", "vllm", "--enable-prompt-tokens-details"]
        # The CPU build dies of seeded prompts cut in chunks (see engine/backends/vllm_engine.py).
        command += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"]
        quiet = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "TQDM_DISABLE": "1"}
        environment = {**os.environ, **quiet, "PYTHONPATH": str(ROOT)}
        self.log = self.folder.parent / "serve.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self.reaper.watch(self.process.pid)

    @property
    def url(self) -> str:
        """The base address of the API."""
        return f"http://127.0.0.1:{self.port}/v1"

    def wait(self) -> None:
        """Until the server answers."""
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                pytest.fail(f"vllm serve ended with status {self.process.returncode}: {self.log.read_text()[-2000:]}")
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.25)
        pytest.fail(f"vllm serve did not answer within {START_LIMIT} s")

    def close(self) -> None:
        """Ends the server and everything it started."""
        family = with_start_times([self.process.pid])
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        end(family)
        self.reaper.dismiss()


@dataclass
class OpenedModels:
    """Opens each model when a test first asks for it."""

    folder: Path
    serve: ServeProcess | None = None
    models: dict[str, Model] = field(default_factory=dict)

    def spec(self, backend: str) -> ModelSpec:
        """The same weights for each backend, in float32."""
        if backend == "scripted":
            return ModelSpec(backend="scripted", model="hash", context_window=WINDOW)
        if backend == "transformers":
            return ModelSpec(backend="transformers", model=str(self.folder), context_window=WINDOW, batch_size=8)
        if backend == "vllm":
            return ModelSpec(
                backend="vllm",
                model=str(self.folder),
                context_window=WINDOW,
                dtype="float32",
                enforce_eager=True,
                engine_args={"max_num_seqs": 32},
            )
        assert self.serve is not None
        tokenizer = str(self.folder) if backend == "openai" else None
        return ModelSpec(backend="openai", model=SERVED_NAME, base_url=self.serve.url, tokenizer=tokenizer)

    async def get(self, backend: str) -> Model:
        """The model, opened."""
        if backend not in self.models:
            if backend.startswith("openai"):
                assert self.serve is not None
                self.serve.wait()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # vLLM's imports warn
                os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
                self.models[backend] = await open_model(self.spec(backend))
        return self.models[backend]

    async def close(self) -> None:
        """Closes all models and the server."""
        if self.serve is not None:
            self.serve.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # vLLM leaves sockets to the garbage collector
            for model in self.models.values():
                await model.close()
            gc.collect()


class Reference:
    """The plain forward pass that every backend is held to, over text written out by hand."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder).eval()

    def ids(self, text: str) -> list[int]:
        """Token ids of a text with its control tokens written out."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def spelled(self, text: str) -> list[int]:
        """Token ids of a text in which nothing is a control token: the vocabulary's merges alone."""
        backend = self.tokenizer.backend_tokenizer
        pieces = backend.pre_tokenizer.pre_tokenize_str(text)
        return [token.id for piece, _ in pieces for token in backend.model.tokenize(piece)]

    def log_probabilities(self, ids: list[int]) -> torch.Tensor:
        """log P of each next token, [vocabulary]."""
        with torch.inference_mode():
            return torch.log_softmax(self.model(torch.tensor([ids])).logits[0, -1].float(), dim=-1)

    def greedy(self, ids: list[int], count: int) -> str:
        """The text of the likeliest tokens, one after the other, without a cache."""
        said: list[int] = []
        while len(said) < count:
            token = int(self.log_probabilities(ids + said).argmax())
            if token == self.tokenizer.eos_token_id:
                break
            said.append(token)
        return str(self.tokenizer.decode(said, clean_up_tokenization_spaces=False)).rstrip("�")
