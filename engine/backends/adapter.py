"""LoRA adapters: small weights beside a model's own, as peft saves them and as both local backends read them.

A judge that was tuned with adapters can be run from the base that it shares with others, without a merged copy.
"""

from __future__ import annotations

import json
from pathlib import Path

from constitution.faults import BadInput, Fault
from engine.backends.folder import PICKLES, fetch_adapter, safetensors_header
from engine.backends.spec import ModelSpec

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adapter_folder(spec: ModelSpec, where: str = "model") -> Path | None:
    """The local folder of the entry's adapter, fetched if need be; None where the entry names none.

    Raises BadInput where it is no LoRA adapter in safetensors.
    """
    if spec.adapter is None:
        return None
    where = f"{where}.adapter"
    folder = fetch_adapter(spec.adapter, where=where)

    def fault(message: str, hint: str) -> BadInput:
        return BadInput(Fault(message, file=str(folder), where=where, hint=hint))

    try:
        kind = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["peft_type"]
    except OSError:
        raise fault(f"no {CONFIG}: this is no adapter", "give the folder that peft's save_pretrained wrote") from None
    except (ValueError, KeyError, TypeError) as error:
        raise fault(f"{CONFIG} cannot be read: {error!r}", "save the adapter again") from None
    if kind != "LORA":
        raise fault(f"it is a {kind} adapter", "LoRA adapters are read, and no others")
    if not (folder / WEIGHTS).is_file():
        pickles = [path.name for path in folder.iterdir() if path.suffix in PICKLES]
        message = f"the weights are pickles ({', '.join(pickles)})" if pickles else f"no {WEIGHTS}"
        raise fault(message, "save it with peft's save_pretrained, which writes safetensors")
    try:
        safetensors_header(folder / WEIGHTS)
    except (ValueError, OSError) as error:
        raise fault(f"{WEIGHTS} is damaged: {error}", "copy or download it again") from None
    return folder


def rank_of(folder: Path) -> int:
    """The largest rank in an adapter's configuration."""
    told = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return max(int(rank) for rank in (told["r"], *(told.get("rank_pattern") or {}).values()))
