"""Puts a policy under stress for an evaluation: checks that it can be done, and fine-tunes it where it is to be."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from charter.training import execute_training
from constitution import BadInput, Fault
from engine.backends.opening import check_model
from engine.backends.spec import ModelSpec
from engine.progress import Reporter
from evaluation.policies import EvaluationSettings
from evaluation.robustness import Stressed
from trainers import fine_tuning


def check_stressed(each: Stressed, settings: EvaluationSettings) -> None:
    """Raises BadInput where a policy cannot be put under this attack. Loads no weights."""
    where = f"policies.{each.policy}"
    check_model(each.spec, where)
    if each.attack == "prefilled" and each.spec.backend == "openai" and each.spec.prefill == "none":
        message = "the server of this policy does not continue an answer that was begun for it"
        raise BadInput(Fault(message, where=where, hint="leave robustness.prefill out, or serve it with vLLM"))
    if each.attack == "fine_tuned":
        if each.spec.backend not in ("transformers", "vllm"):
            hint = "leave robustness.fine_tuning out, or name the policy's folder"
            raise BadInput(Fault("only weights in a folder can be fine-tuned", where=where, hint=hint))
        if each.spec.adapter is not None:
            hint = "name the model with the adapter merged in, as a training leaves it in model/"
            raise BadInput(Fault("a policy with an adapter beside it is not fine-tuned", where=where, hint=hint))
        fine_tuning.check(_training(each, settings, "unused"))


def _training(each: Stressed, settings: EvaluationSettings, folder: str) -> fine_tuning.FineTuningSettings:
    assert settings.robustness is not None
    assert settings.robustness.fine_tuning is not None
    return settings.robustness.fine_tuning.training(each.spec, settings.seed, folder)


@contextmanager
def fine_tuned(each: Stressed, settings: EvaluationSettings, reporter: Reporter) -> Iterator[ModelSpec]:
    """The policy after its fine-tuning. The weights are in a temporary folder, and gone when the answers are there."""
    reporter.say(f"{each.name}: {each.how}")
    with tempfile.TemporaryDirectory(prefix="charter-attack-") as folder:
        trained = execute_training("sft", _training(each, settings, f"{folder}/training"), command="charter evaluate")
        yield each.spec.model_copy(update={"model": trained.model, "revision": None, "chat_template": None})
