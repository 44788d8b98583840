"""`charter serve`: a run's policy behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from charter.commands.options import API_KEY

if TYPE_CHECKING:
    from engine.backends.spec import ModelSpec


@click.command()
@click.argument("run")
@click.option("--policy", metavar="NAME", help="Which one, where there are several; otherwise the last.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where it listens; beyond this machine it needs a key."
)
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Where it listens.")
@API_KEY
@click.option("--context-window", type=click.IntRange(min=16), help="Tokens of prompt and answer together.")
@click.option(
    "--start-limit", type=click.FloatRange(min=1), default=900.0, show_default=True, help="Seconds to start in."
)
def serve(
    run: str,
    policy: str | None,
    host: str,
    port: int,
    api_key_env: str | None,
    context_window: int | None,
    start_limit: float,
) -> int:
    """Serve the policy of RUN with vLLM, as OpenAI's chat completions, and print commands for other tools.

    RUN is the folder of a training, a loop, an evaluation or a run, or a model by itself. Ctrl-C ends the server.
    """
    from charter.serving import policy_of, ready_commands
    from charter.showing import printable
    from engine.backends.vllm_server import VllmServer, arguments
    from engine.progress import PLAIN_SECONDS

    name, spec = policy_of(run, policy)
    key = _key(api_key_env, host)
    folder, gpu = _checked(spec, host, port)
    log = Path(run, "logs", "serve.log") if Path(run, "manifest.json").exists() else Path(f"serve-{port}.log")
    told = arguments(folder, name, host, port, context_window or spec.context_window, gpu=gpu)
    print(f"starting {printable(name)}; what the server says is in {log}", file=sys.stderr, flush=True)
    spoke = 0.0

    def tell(seconds: float) -> None:
        nonlocal spoke
        if seconds - spoke >= PLAIN_SECONDS:
            spoke = seconds
            print(f"starting, {seconds:.0f} s", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGTERM, _interrupt)
    server = VllmServer(told, host, port, log, key)
    try:
        server.wait(start_limit, tell)
        click.echo(f"{printable(name)} is served at {server.url}. Ctrl-C ends it.")
        for tool, command in ready_commands(server.url, name, api_key_env).items():
            click.echo(f"\n# {tool}\n{printable(command)}")
        sys.stdout.flush()
        while True:
            server.check()
            time.sleep(1)
    except KeyboardInterrupt:
        print("ending the server", file=sys.stderr)
        return 0
    finally:
        server.close()
        signal.signal(signal.SIGTERM, before)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _key(name: str | None, host: str) -> str | None:
    """The key that callers must send, out of the environment. Raises BadInput where other machines need none."""
    import os

    from charter.serving import LOOPBACK
    from constitution.faults import BadInput, Fault

    if name is None:
        if host in LOOPBACK:
            return None
        hint = "name the variable that holds a key with --api-key-env, or listen on 127.0.0.1"
        raise BadInput(Fault(f"whoever reaches {host} could use the model without a key", where="--host", hint=hint))
    key = os.environ.get(name) if name.isidentifier() else None
    if not key:  # the name is not shown: it may be the key itself
        message = "this names no environment variable that is set"
        hint = "write the variable's name, such as SERVE_KEY, and export it; never the key"
        raise BadInput(Fault(message, where="--api-key-env", hint=hint))
    return key


def _checked(spec: ModelSpec, host: str, port: int) -> tuple[Path, bool]:
    """The folder of the weights, and whether there is a GPU. Raises BadInput before anything is started."""
    import socket

    import torch

    from constitution.faults import BadInput, Fault
    from engine.backends.folder import weights_folder
    from engine.backends.opening import check_model
    from engine.backends.spec import ModelSpec

    if spec.backend not in ("transformers", "vllm"):
        hint = "serve a policy that is a folder of weights"
        raise BadInput(Fault(f"its policy is no folder: {spec.backend} {spec.model}", where="RUN", hint=hint))
    if spec.adapter is not None:
        hint = "serve the model with the adapter merged in, as a training leaves it in model/"
        raise BadInput(Fault(f"its policy has an adapter beside it: {spec.called}", where="RUN", hint=hint))
    weights = ModelSpec(backend="vllm", model=spec.model, revision=spec.revision)
    check_model(weights, "RUN")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            hint = "choose another with --port"
            raise BadInput(
                Fault(f"cannot listen on {host}:{port}: {error.strerror}", where="--port", hint=hint)
            ) from None
    return weights_folder(weights)[0], torch.cuda.is_available()
