"""Options that several commands share, and what they make of what was typed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from constitution.faults import BadInput, Fault

if TYPE_CHECKING:
    from engine.backends.spec import ModelSpec

Command = TypeVar("Command", bound=Callable[..., Any])


def shared(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """One decorator for several options, in the order they are listed."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


SETTINGS = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set any key of the recipe, such as compare.principles=4. May be given several times.",
)
LIMIT = click.option("--limit", type=click.IntRange(min=1), help="Only the first so many prompts.")
OUTPUT = click.option("--output", metavar="FOLDER", help="The run folder: a path, or the URL of an object store.")
RUNNING = shared(
    LIMIT,
    OUTPUT,
    SETTINGS,
    click.option("--resume", is_flag=True, help="Go on with the run that is in the folder."),
    click.option("--retry-failed", is_flag=True, help="With --resume: try the rows again that were set aside."),
    click.option("--dry-run", is_flag=True, help="Run a small pilot and print what the whole run will take."),
    click.option("--pilot", type=click.IntRange(min=1), default=8, show_default=True, help="Prompts of the dry run."),
)


BACKEND = shared(
    click.option(
        "--backend",
        type=click.Choice(["transformers", "vllm", "openai", "scripted"]),
        default="transformers",
        show_default=True,
        help="What runs the model.",
    ),
    click.option("--base-url", help="Where the server of the openai backend is."),
)
API_KEY = click.option(
    "--api-key-env", metavar="NAME", help="The environment variable that holds the server's key, where it wants one."
)


def model_spec(model: str, backend: str, base_url: str | None, api_key_env: str | None = None) -> ModelSpec:
    """The model that flags describe."""
    from engine.backends.spec import ModelSpec

    given = {"backend": backend, "model": model, "base_url": base_url, "api_key_env": api_key_env}
    return ModelSpec.model_validate({key: value for key, value in given.items() if value is not None})


def overrides(settings: Sequence[str], **flags: object) -> dict[str, str]:
    """`--set a.b=c` and flags as the recipe loader takes them. Raises BadInput where a setting has no `=`."""
    found = {key: str(value) for key, value in flags.items() if value is not None}
    faults = []
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            hint = "write --set section.key=value"
            faults.append(Fault(f"'{setting}' sets nothing", where="--set", hint=hint))
        found[key.strip()] = value
    if faults:
        raise BadInput(faults)
    return found
