"""What vLLM's engine leaves behind, and what becomes of its errors."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from constitution.faults import BadInput
from engine.backends.chat import open_chat
from engine.backends.reaper import Reaper, descendants, end, start_time, with_start_times
from engine.backends.spec import ModelSpec
from engine.model import ModelError, ModelUnavailable, Sampling
from tests.engine.backends_for_tests import START_LIMIT, VLLM_MISSING, asked, has_vllm, user

ROOT = Path(__file__).parents[3]
HOST = """
import subprocess, sys, time
from engine.backends.reaper import Reaper
child = subprocess.Popen(
    ["/bin/sh", "-c", "sleep 600 & echo $$ $!; wait"], start_new_session=True, stdout=subprocess.PIPE, text=True
)
reaper = Reaper()
reaper.watch(child.pid)
print(child.stdout.readline(), end="", flush=True)
time.sleep(600)
"""
ENGINE_HOST = """
import asyncio, sys
from engine.backends.opening import open_model
from engine.backends.reaper import with_start_times
from engine.backends.spec import ModelSpec

async def main():
    model = await open_model(ModelSpec(
        backend="vllm", model=sys.argv[1], dtype="float32", context_window=256, enforce_eager=True,
        engine_args={"max_num_seqs": 2},
    ))
    print(*with_start_times(process.pid for process in model._processes), flush=True)
    await asyncio.sleep(600)

if __name__ == "__main__":
    asyncio.run(main())
"""


def wait_until_gone(pids: list[int], limit: float = 20.0) -> list[int]:
    """The processes that are still alive after the limit."""
    deadline = time.monotonic() + limit
    while alive := [pid for pid in pids if start_time(pid) is not None]:
        if time.monotonic() > deadline:
            return alive
        time.sleep(0.05)
    return []


def started_host(*command: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "1"}
    return subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True)


def first_pids(host: subprocess.Popen[str]) -> list[int]:
    assert host.stdout is not None
    return [int(pid) for pid in host.stdout.readline().split()]


def killed(host: subprocess.Popen[str]) -> None:
    host.send_signal(signal.SIGKILL)
    host.communicate()


def test_a_killed_host_takes_its_registered_processes_along() -> None:
    host = started_host("-c", HOST)
    shell, sleep = first_pids(host)
    assert with_start_times([shell]).keys() == {shell, sleep}
    killed(host)
    assert wait_until_gone([shell, sleep]) == []


@pytest.mark.skipif(not has_vllm(), reason=VLLM_MISSING)
def test_workers_are_registered_beside_the_process_that_started_them() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from engine.backends.vllm_engine import LOOK_EVERY, watched

    class Noted(Reaper):
        def watch(self, pid: int) -> None:
            registered.add(pid)

    registered: set[int] = set()
    with watched(Noted(), set(multiprocessing.active_children())):
        core = multiprocessing.get_context("spawn").Process(target=os.system, args=("sleep 600",))
        core.start()
        assert core.pid is not None
        deadline = time.monotonic() + 60
        while len(registered) < 2 and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY)
    family = with_start_times([core.pid])
    assert set(family) - {core.pid} <= registered
    assert core.pid in registered
    end(family)
    core.join()
    assert wait_until_gone(list(family)) == []


def test_a_dismissed_reaper_ends_and_kills_nothing() -> None:
    child = subprocess.Popen(["/bin/sleep", "600"])
    reaper = Reaper()
    reaper.watch(child.pid)
    watcher = reaper._process
    assert watcher is not None
    reaper.dismiss()
    assert watcher.returncode is not None
    assert child.poll() is None
    child.kill()
    child.wait()
    assert start_time(child.pid) is None
    assert descendants({child.pid}) == set()


@pytest.mark.vllm
@pytest.mark.skipif(not has_vllm(), reason=VLLM_MISSING)
@pytest.mark.timeout(START_LIMIT + 60)
def test_an_engine_does_not_outlive_a_host_that_was_killed(tiny_model: Path, tmp_path: Path) -> None:
    script = tmp_path / "host.py"
    script.write_text(ENGINE_HOST, encoding="utf-8")
    host = started_host(str(script), str(tiny_model))
    pids = first_pids(host)
    assert pids
    killed(host)
    assert wait_until_gone(pids) == []


@pytest.fixture
async def model(tiny_model: Path) -> AsyncIterator[Any]:
    """A VllmModel whose engine is a stand-in."""
    pytest.importorskip("vllm", reason=VLLM_MISSING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import vllm.v1.engine.async_llm  # noqa: F401 - it warns when it is first imported

        from engine.backends.vllm_engine import VllmModel

        engine = SimpleNamespace(shutdown=lambda: None)
        opened = VllmModel(open_chat(ModelSpec(model=str(tiny_model))), "revision", engine, [], Reaper())
    yield opened
    await opened.close()


def answering(engine: Any, respond: Any) -> None:
    """Makes the stand-in answer each request with what `respond` returns or raises."""

    async def generate(prompt: Any, parameters: Any, request: str, lora_request: Any) -> AsyncIterator[Any]:
        yield respond(prompt, parameters)

    engine.generate = generate


async def test_a_dead_engine_is_unavailable(model: Any) -> None:
    from vllm.v1.engine.exceptions import EngineDeadError

    def dead(prompt: Any, parameters: Any) -> Any:
        raise EngineDeadError

    answering(model._engine, dead)
    with pytest.raises(ModelUnavailable, match="EngineDeadError"):
        await model.generate(user("x"), Sampling())
    with pytest.raises(ModelUnavailable):
        await model.choose(asked("x"), ("A", "B"))


async def test_a_refused_request_is_not_taken_for_a_dead_engine(model: Any) -> None:
    def refuse(prompt: Any, parameters: Any) -> Any:
        raise ValueError("top_p must be in (0, 1]")

    answering(model._engine, refuse)
    with pytest.raises(ModelError, match="top_p") as caught:
        await model.generate(user("x"), Sampling())
    assert not isinstance(caught.value, ModelUnavailable)


def verdict(masses: dict[int, float]) -> Any:
    """An output with log-probabilities, given as probabilities."""
    reported = {token: SimpleNamespace(logprob=math.log(mass)) for token, mass in masses.items()}
    said = SimpleNamespace(logprobs=[reported], token_ids=[0], text="", finish_reason="length")
    return SimpleNamespace(outputs=[said], finished=True, num_cached_tokens=3)


async def test_an_older_vllm_is_asked_for_each_option_alone(model: Any) -> None:
    ids = model._chat.question(asked("x"), ("A", "B"))[1]
    requests = []

    def older(prompt: Any, parameters: Any) -> Any:
        requests.append((parameters.allowed_token_ids, parameters.logprobs))
        return verdict({parameters.allowed_token_ids[0]: 0.6 if parameters.allowed_token_ids[0] == ids[0] else 0.3})

    answering(model._engine, older)
    model._reads_ids = False
    choice = await model.choose(asked("x"), ("A", "B"))
    assert [math.exp(value) for value in choice.log_probabilities] == pytest.approx([0.6, 0.3])
    assert requests == [([ids[0]], 0), ([ids[1]], 0)]
    answering(model._engine, lambda prompt, parameters: verdict({parameters.allowed_token_ids[0]: 1.0}))
    with pytest.raises(ModelError, match="not raw"):
        await model.choose(asked("x"), ("A", "B"))


async def test_top_log_probabilities_are_never_asked_beside_ids(model: Any) -> None:
    seen = []

    def note(prompt: Any, parameters: Any) -> Any:
        seen.append(parameters)
        return verdict(dict.fromkeys(parameters.logprob_token_ids or [0], 0.1))

    answering(model._engine, note)
    await model.choose(asked("x"), ("A", "B"))
    await model.generate(user("x"), Sampling(seed=4, stop=("a",)))
    assert [parameters.logprobs for parameters in seen] == [None, None]
    assert seen[0].max_tokens == 1
    assert (seen[1].seed, seen[1].stop) == (4, ["a"])


@pytest.mark.vllm
async def test_settings_that_vllm_refuses_are_bad_input(tiny_model: Path) -> None:
    pytest.importorskip("vllm", reason=VLLM_MISSING)
    from engine.backends.vllm_engine import open_vllm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(BadInput, match="no_such_argument"):
            await open_vllm(ModelSpec(backend="vllm", model=str(tiny_model), engine_args={"no_such_argument": 1}))
