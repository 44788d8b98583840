"""Model folders: found, checked and identified without loading a weight.

A hub id becomes a folder first (`fetch`), so that every check below and every backend reads plain files.
Weights are read from safetensors only: a pickle (`.bin`, `.pt`) can run code when it is opened.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from constitution.faults import BadInput, Fault
from engine.backends.spec import ModelSpec

HUB_ID = re.compile(r"^[\w.-]+(/[\w.-]+)?$")
HUB_COMMIT = re.compile(r"^[0-9a-f]{40}$")
SMALL_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.jsonl")
"""What a hub download holds beside the weights."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "tekken.json")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
TRAINED, TRAINED_ADAPTER = "model", "adapter"
"""Where a training run's folder holds the model that it made, and the adapters alone."""
EDGE = 64 * 1024
"""Bytes read from either end of a tensor for the content hash."""


def is_folder_name(name: str) -> bool:
    """True where the user means a folder: it exists, or it cannot be a hub id."""
    return Path(name).expanduser().is_dir() or name.startswith((".", "/", "~")) or not HUB_ID.match(name)


def fetch(name: str, revision: str | None, *, weights: bool, where: str = "model") -> Path:
    """The folder of a model: the one the user named, that of a training run's model, or a hub snapshot in the local
    Hugging Face cache.

    Without `weights` only configuration and tokenizer are fetched. Raises BadInput where there is no such folder,
    where the hub does not know the id or refuses it, and where neither network nor cache has it.
    """
    if is_folder_name(name):
        return _local_folder(name, TRAINED, "config.json", where)
    patterns = [*SMALL_FILES, "*.safetensors"] if weights else list(SMALL_FILES)
    return _snapshot(name, revision, patterns, where)


def fetch_adapter(name: str, *, where: str) -> Path:
    """As `fetch`, the folder of an adapter, or of a training run's adapter, with its weights."""
    if is_folder_name(name):
        return _local_folder(name, TRAINED_ADAPTER, "adapter_config.json", where)
    return _snapshot(name, None, [*SMALL_FILES, "*.safetensors"], where)


def _local_folder(name: str, trained: str, configuration: str, where: str) -> Path:
    """A folder that a user named; the one inside it where it is a training's run folder."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        kind = "a file, not a folder" if folder.exists() else "no such folder"
        raise BadInput(Fault(f"{name!r} is {kind}", where=where, hint=f"give the folder that holds {configuration}"))
    inside = folder / trained
    return inside if inside.is_dir() and not (folder / configuration).exists() else folder


def _snapshot(name: str, revision: str | None, patterns: list[str], where: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except LocalEntryNotFoundError:
        message = f"{name!r} is no folder here, it is not in the Hugging Face cache, and the hub cannot be reached"
        raise BadInput(Fault(message, where=where, hint="check the spelling, or download the model first")) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        message = f"the hub does not give {name!r} (revision {revision or 'default'}): {reason}"
        raise BadInput(
            Fault(message, where=where, hint="check the id and the revision; log in if it is gated")
        ) from None


def model_faults(folder: Path, *, where: str = "model", weights: bool = True) -> list[Fault]:
    """What keeps a folder from being a model. `weights=False` looks only at the configuration."""
    faults: list[Fault] = []

    def fault(message: str, hint: str) -> None:
        faults.append(Fault(message, file=str(folder), where=where, hint=hint))

    config = folder / "config.json"
    if not config.is_file():
        fault("no config.json: this is no model folder", "save the model with save_pretrained(...) into it")
    else:
        try:
            if not isinstance(json.loads(config.read_text(encoding="utf-8")), dict):
                fault("config.json holds no mapping", "save the model again")
        except ValueError as error:
            fault(f"config.json is not JSON: {error}", "save the model again")
    shards = sorted(folder.glob("*.safetensors"))
    if weights and not shards:
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if pickles:
            fault(
                f"the weights are pickles ({', '.join(pickles[:3])}), which can run code when they are read",
                "load it once in a place you trust and save it with save_pretrained(...), which writes safetensors",
            )
        else:
            fault("no *.safetensors: the folder holds no weights", "save the model with save_pretrained(...)")
    for shard in shards if weights else ():
        try:
            safetensors_header(shard)
        except (ValueError, OSError) as error:
            fault(f"{shard.name} is damaged: {error}", "copy or download it again")
    missing = missing_shards(folder) if weights else []
    if missing:
        fault(f"the index names files that are missing: {', '.join(missing[:3])}", "copy or download them again")
    return faults


def missing_shards(folder: Path) -> list[str]:
    """Weight files that `model.safetensors.index.json` names and the folder lacks."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        return [f"{index.name} (unreadable)"]
    return [name for name in names if not (folder / name).is_file()]


def tokenizer_faults(folder: Path, template: str | None, *, where: str = "model") -> list[Fault]:
    """What keeps a folder from being a tokenizer that can render a conversation."""
    faults: list[Fault] = []
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        hint = "save it with tokenizer.save_pretrained(...), or name another one with `tokenizer`"
        return [Fault("no tokenizer in the folder", file=str(folder), where=where, hint=hint)]
    if template is not None:
        if not Path(template).expanduser().is_file():
            faults.append(Fault(f"no such file: {template}", where=f"{where}.chat_template"))
    elif not has_chat_template(folder):
        hint = "use an instruction-tuned model, or give a Jinja file with `chat_template`"
        faults.append(Fault("the tokenizer has no chat template", file=str(folder), where=where, hint=hint))
    return faults


def has_chat_template(folder: Path) -> bool:
    """True where the tokenizer's own files hold a chat template."""
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and bool(settings.get("chat_template"))


def model_revision(folder: Path) -> str:
    """What identifies the weights: the commit of a hub snapshot, or `sha256-` and 16 hex digits of the content.

    The hash covers configuration, tokenizer and chat template whole, and of each safetensors file the header and
    64 KiB from either end of every tensor. Training touches whole tensors, so a trained model differs from its
    parent, and 140 GB are identified by reading some 100 MB of them.
    """
    if folder.parent.name == "snapshots" and HUB_COMMIT.match(folder.name):
        return folder.name
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".jinja", ".model"} and path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        elif path.suffix == ".safetensors":
            digest.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                for part in _edges(file, path):
                    digest.update(part)
    return f"sha256-{digest.hexdigest()[:16]}"


def weights_folder(spec: ModelSpec) -> tuple[Path, str]:
    """The local folder with the weights of a vllm or transformers entry, fetched if need be, and its revision: the
    model's, and the adapter's after a plus.

    Raises BadInput where the folder is no model.
    """
    weights = spec.load_format == "safetensors"
    folder = fetch(spec.model, spec.revision, weights=weights)
    if faults := model_faults(folder, weights=weights):
        raise BadInput(faults)
    revision = model_revision(folder) if weights else "dummy"
    if spec.adapter is not None:
        revision += f"+{model_revision(fetch_adapter(spec.adapter, where='model.adapter'))}"
    return folder, revision


def tokenizer_folder(spec: ModelSpec, where: str = "model") -> Path:
    """The local folder of the entry's tokenizer, fetched if need be. Raises BadInput."""
    if spec.tokenizer is not None:
        revision = spec.revision if spec.backend == "openai" else None
        return fetch(spec.tokenizer, revision, weights=False, where=f"{where}.tokenizer")
    return fetch(spec.model, spec.revision, weights=False, where=where)


def _edges(file: BinaryIO, path: Path) -> Iterator[bytes]:
    header = safetensors_header(path)
    yield json.dumps(header, sort_keys=True).encode()
    data = 8 + _header_length(path)
    for name, entry in sorted(header.items()):
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        file.seek(data + start)
        yield file.read(min(EDGE, end - start))
        if end - start > EDGE:
            file.seek(data + max(start + EDGE, end - EDGE))
            yield file.read(min(EDGE, end - start - EDGE))


def _header_length(path: Path) -> int:
    with path.open("rb") as file:
        lead = file.read(8)
    if len(lead) < 8:
        raise ValueError("it is empty or cut off")
    length: int = struct.unpack("<Q", lead)[0]
    if length > path.stat().st_size - 8:
        raise ValueError("its header is longer than the file")
    return length


def safetensors_header(path: Path) -> dict[str, dict[str, list[int]]]:
    """The JSON header: tensor name → dtype, shape, data_offsets in bytes. Raises ValueError where it is damaged."""
    length = _header_length(path)
    with path.open("rb") as file:
        file.seek(8)
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no mapping")
    end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    if 8 + length + end != path.stat().st_size:
        raise ValueError(f"it has {path.stat().st_size} bytes, its header speaks of {8 + length + end}")
    return header
