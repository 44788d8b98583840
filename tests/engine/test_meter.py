"""GPU time and energy: what counters say, and that nothing is made up where there are none."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.backends.spec import ModelSpec
from engine.cost import Spent, spent
from engine.meter import gpus_held, metered, read_counters, watt_hours
from engine.storage import Folder


def package(powercap: Path, microjoules: int, limit: int = 10**10) -> None:
    folder = powercap / "intel-rapl:0"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    part = powercap / "intel-rapl:0:0"
    part.mkdir(exist_ok=True)
    (part / "energy_uj").write_text("1\n")


def test_the_energy_of_processors_is_the_difference_of_their_counters(tmp_path: Path) -> None:
    package(tmp_path, 1_000_000)
    before = read_counters(tmp_path)
    package(tmp_path, 1_000_000 + 7_200_000_000)
    assert watt_hours(before, read_counters(tmp_path)) == {"gpus": None, "processors": pytest.approx(2.0)}
    before = read_counters(tmp_path)
    package(tmp_path, 200_000_000)
    began_anew = watt_hours(before, read_counters(tmp_path))["processors"]
    assert began_anew == pytest.approx((10**10 - 7_201_000_000 + 200_000_000) / 3.6e9)
    assert read_counters(tmp_path / "none").processors is None


def test_gpus_are_summed_and_one_without_a_counter_makes_the_sum_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    millijoules = {"a": 3_600_000, "b": 7_200_000}

    class NVMLError(Exception):
        pass

    def energy(handle: str) -> int:
        if handle not in millijoules:
            raise NVMLError
        return millijoules[handle]

    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda place: "ab"[place],
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}",
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    before = read_counters()
    millijoules.update(a=7_200_000, b=14_400_000)
    assert watt_hours(before, read_counters())["gpus"] == pytest.approx(3.0)
    del millijoules["b"]
    assert watt_hours(before, read_counters())["gpus"] is None


def test_gpus_that_models_hold() -> None:
    one = ModelSpec(backend="vllm", model="one", tensor_parallel=2, replicas=3)
    other = ModelSpec(model="other", gpus=0.5)
    assert gpus_held([one, other, one], 8) == 6.5, "one model in two roles is one engine"
    assert gpus_held([one], 0) == 0
    assert gpus_held([one.model_copy(update={"replicas": (1, 4)})], 8) is None, "as many as the load asks for"
    assert gpus_held([ModelSpec(backend="openai", model="far", base_url="http://x/v1")], 0) is None
    assert gpus_held([ModelSpec(backend="scripted", model="hash")], 8) == 0


def test_what_was_spent_is_summed_over_starts_and_unknown_where_one_is(tmp_path: Path) -> None:
    run = Folder(str(tmp_path))
    for _ in range(2):
        with metered(run, "02_revise", 0.0, here=True):
            pass
    assert spent(run, "02_revise").gpu_seconds == 0
    with pytest.raises(KeyboardInterrupt), metered(run, "02_revise", None, here=False):
        raise KeyboardInterrupt
    assert spent(run, "02_revise") == Spent(0.0), "the last start was left, and is not known"
