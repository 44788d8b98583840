"""vLLM's OpenAI-compatible server as a process of this one: started, waited for, and ended with all that it started.

    VllmServer(folder, name, …) ──subprocess──► vllm serve ──/health──► wait() returns          close() ends it

The key never stands on a command line: the server reads it from its environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from engine.backends.reaper import Reaper, end, with_start_times
from engine.backends.vllm_engine import CPU_BATCHED_TOKENS
from engine.model import ModelUnavailable

LOOK_EVERY = 0.5
"""Seconds between two looks whether the server answers."""
GRACE = 20.0
"""Seconds that the server has to end by itself."""
TOLD = 1500
"""Characters of the server's last words that an error shows."""
COMMAND = "from engine.backends.vllm_engine import command_line; command_line()"
ROOT = Path(__file__).parents[2]


def arguments(folder: Path, name: str, host: str, port: int, window: int | None, *, gpu: bool) -> list[str]:
    """What `vllm serve` is told. Numbers are the checkpoint's own type, and sampling is nobody's but the caller's."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    told = ["serve", str(folder), "--host", host, "--port", str(port), "--served-model-name", name]
    told += ["--dtype", str(config.get("dtype") or config.get("torch_dtype") or "auto")]
    told += ["--generation-config", "vllm", "--enable-prompt-tokens-details"]
    if window is not None:
        told += ["--max-model-len", str(window)]
    if not gpu:
        # The CPU build dies of seeded prompts that are cut in chunks (see vllm_engine.py), so nothing is cut.
        longest = window or int(config.get("max_position_embeddings") or 0)
        told += ["--enforce-eager", "--no-enable-chunked-prefill"]
        told += ["--max-num-batched-tokens", str(max(longest, CPU_BATCHED_TOKENS))]
    return told


class VllmServer:
    """A server on this machine."""

    def __init__(self, told: Sequence[str], host: str, port: int, log: Path, key: str | None = None) -> None:
        """Starts it, without waiting. Its words go to `log`."""
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
        self._log = log
        environment = {"VLLM_LOGGING_LEVEL": "WARNING", "TQDM_DISABLE": "1", "VLLM_NO_USAGE_STATS": "1", **os.environ}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        if key is not None:
            environment["VLLM_API_KEY"] = key
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            self.process = subprocess.Popen(  # noqa: S603 - the command is ours
                [sys.executable, "-c", COMMAND, *told],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is ours to handle
            )
        self._reaper = Reaper()
        self._reaper.watch(self.process.pid)

    def wait(self, limit: float, told: Callable[[float], None] = lambda seconds: None) -> None:
        """Until the server answers. `told` hears the seconds so far. Raises ModelUnavailable where it ends instead, or
        does not answer within `limit` seconds."""
        start = time.monotonic()
        while (waited := time.monotonic() - start) < limit:
            self.check()
            try:
                if httpx.get(self.url.removesuffix("v1") + "health", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            told(waited)
            time.sleep(LOOK_EVERY)
        raise ModelUnavailable(f"the server did not answer within {limit:g} s; its words are in {self._log}")

    def check(self) -> None:
        """Raises ModelUnavailable where the server has ended."""
        if self.process.poll() is not None:
            words = self._log.read_text(encoding="utf-8", errors="replace")[-TOLD:]
            raise ModelUnavailable(f"the server ended with status {self.process.returncode}:\n{words}")

    def close(self) -> None:
        """Ends the server and everything it started."""
        family = with_start_times([self.process.pid])
        self.process.terminate()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        end(family)
        self._reaper.dismiss()
