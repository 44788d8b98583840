"""A preference model scores alike wherever it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from constitution.faults import BadInput
from prompts.messages import Message
from tests.engine.backends_for_tests import VLLM_MISSING, has_vllm
from tests.trainers.models_for_tests import make_scorer
from trainers.hosted_scoring import ScorerSettings, open_scoring, ray_for


def conversations() -> list[list[Message]]:
    """Of several lengths; the last does not fit the window."""
    asked = Message(role="user", content="How do I mend it?")
    answers = ["kind 1", "rude", "", "kind " * 40, "glue it well", "kind " * 9000]
    return [[asked, Message(role="assistant", content=answer)] for answer in answers]


@pytest.fixture(scope="module")
def scorer_folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scorer(tiny_model, tmp_path_factory.mktemp("scorer"))


@pytest.mark.parametrize(
    "told",
    [
        {"replicas": 2, "cpus": 0.5},
        pytest.param(
            {"engine": "vllm"},
            marks=[pytest.mark.vllm, pytest.mark.skipif(not has_vllm(), reason=VLLM_MISSING)],
        ),
    ],
    ids=["two actors", "vllm"],
)
def test_actors_score_what_this_process_scores(told: dict[str, object], scorer_folder: Path) -> None:
    here = open_scoring(ScorerSettings(model=str(scorer_folder)), "reward.models.x")
    expected = here.score(conversations())
    assert expected[-1] is None
    remote = ScorerSettings.model_validate({"model": str(scorer_folder), "where": "ray", **told})
    with ray_for([remote], None):
        there = open_scoring(remote, "reward.models.x")
        assert there.revision == here.revision
        found = there.score(conversations())
    assert found[-1] is None
    assert found[:-1] == pytest.approx(expected[:-1], abs=2e-4)
    assert max(expected[:-1]) - min(expected[:-1]) > 0.1  # type: ignore[type-var, operator]


def test_what_is_no_preference_model_is_said_from_an_actor_too(tiny_model: Path) -> None:
    told = ScorerSettings(model=str(tiny_model), where="ray")
    with ray_for([told], None), pytest.raises(BadInput, match="charter train pm"):
        open_scoring(told, "reward.models.x")


def test_vllm_wants_a_process_of_its_own() -> None:
    with pytest.raises(ValueError, match="needs where: ray"):
        ScorerSettings(model="x", engine="vllm")
