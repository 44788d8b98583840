"""Fixtures that tests of several packages share. Heavy imports wait until a fixture is used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from engine.model import Model
from tests.evaluation.chromium_for_tests import CHROMIUM

if TYPE_CHECKING:
    from tests.engine.backends_for_tests import OpenedModels, Reference

ENGINE_TIMEOUT = 900
"""Seconds for a test that may be the one to start an engine, which takes minutes where the cores are busy."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives tests that start vLLM the time it takes."""
    for item in items:
        if item.get_closest_marker("vllm") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(ENGINE_TIMEOUT))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Llama with random weights, its tokenizer and its chat template."""
    from tests.engine.tiny_model import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def tiny_preference_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny preference model over the tiny model, with a random head."""
    from tests.engine.tiny_model import make_tiny_preference_model

    return make_tiny_preference_model(tiny_model, tmp_path_factory.mktemp("models") / "tiny-preference-model")


@pytest.fixture(scope="session")
def reference(tiny_model: Path) -> Reference:
    """The plain forward pass over the tiny model."""
    from tests.engine.backends_for_tests import Reference

    return Reference(tiny_model)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def opened(tiny_model: Path, request: pytest.FixtureRequest) -> AsyncIterator[OpenedModels]:
    """Every backend, opened once in the session's event loop. A server starts at once, since it takes longest."""
    from tests.engine.backends_for_tests import OpenedModels, ServeProcess, has_vllm

    wanted = any("openai" in item.name.partition("[")[2] for item in request.session.items)
    models = OpenedModels(tiny_model, ServeProcess(tiny_model) if wanted and has_vllm() else None)
    yield models
    await models.close()


@pytest_asyncio.fixture(loop_scope="session")
async def model(opened: OpenedModels, request: pytest.FixtureRequest) -> Model:
    """The backend that the test is parametrised with: `parametrize("model", EVERY, indirect=True)`."""
    return await opened.get(request.param)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real browser for the tests of pages."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield started
        started.close()
