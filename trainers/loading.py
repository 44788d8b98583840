"""The weights a training starts from: checked without loading them, then loaded from safetensors.

Policies are causal language models; preference models are sequence classifiers with one label (trainers/scoring.py).
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch

from constitution.faults import BadInput, Fault, did_you_mean
from engine.backends.chat import Chat, open_chat
from engine.backends.folder import fetch, model_faults, safetensors_header, tokenizer_faults
from trainers.settings import LoraSettings, TrainingSettings


def check_training_model(settings: TrainingSettings, where: str = "model") -> None:
    """Raises BadInput with everything that keeps the weights from being trained and can be seen without them."""
    spec = settings.spec
    folder = fetch(spec.model, spec.revision, weights=True, where=where)
    faults = model_faults(folder, where=where) + tokenizer_faults(folder, spec.chat_template, where=where)
    if faults:
        raise BadInput(faults)
    check_tokenizer(folder, open_chat(spec), where)
    if settings.lora is not None:
        _check_lora(settings.lora, folder)


def check_policy(settings: TrainingSettings, where: str = "model") -> None:
    """As check_training_model, and raises BadInput where the model writes no text, such as a preference model."""
    check_training_model(settings, where)
    folder = fetch(settings.model, settings.revision, weights=False, where=where)
    names = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    if names and not any(name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in names):
        message = f"it is a {', '.join(names)}, which writes no text"
        raise BadInput(Fault(message, file=str(folder), where=where, hint="name a policy, not a preference model"))


def check_tokenizer(folder: Path, chat: Chat, where: str) -> None:
    """Raises BadInput where the tokenizer has ids that the model has no embedding for: it is another model's."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    rows = config.get("text_config", config).get("vocab_size")
    highest = max(chat.tokenizer.get_vocab().values())
    if isinstance(rows, int) and highest >= rows:
        message = f"the tokenizer has the id {highest} and the model embeddings for {rows} ids: it is another model's"
        raise BadInput(Fault(message, file=str(folder), where=where, hint="put the model's own tokenizer there"))


def _check_lora(lora: LoraSettings, folder: Path) -> None:
    """Raises BadInput where a layer is named that the model has not, or 4 bits cannot be had here."""
    if not isinstance(lora.modules, str):
        entries = [entry for shard in folder.glob("*.safetensors") for entry in safetensors_header(shard).items()]
        layers = {name.removesuffix(".weight") for name, entry in entries if len(entry.get("shape", ())) == 2}
        for wanted in lora.modules:
            if not any(layer == wanted or layer.endswith(f".{wanted}") for layer in layers):
                message = f"the model has no layer {wanted!r}"
                hint = did_you_mean(wanted, {layer.rpartition(".")[2] for layer in layers})
                raise BadInput(Fault(message, str(folder), where="lora.modules", hint=hint))
    if lora.four_bit and importlib.util.find_spec("bitsandbytes") is None:
        hint = "pip install 'charter[qlora]'"
        raise BadInput(Fault("bitsandbytes is not installed", where="lora.four_bit", hint=hint))


def computation_dtype(settings: TrainingSettings) -> torch.dtype:
    """The number type of the computation on this machine."""
    if settings.dtype == "auto":
        return torch.bfloat16 if torch.cuda.is_available() else torch.float32
    return torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32


def load_weights(settings: TrainingSettings, auto_class: Any, **options: Any) -> Any:
    """The starting weights as `auto_class` (AutoModelForCausalLM, …) reads them, on the CPU unless they are 4-bit.

    Weights that are trained are float32 (the optimiser needs it; the computation may still be bfloat16); weights that
    adapters leave alone have the computation's type.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # we report progress ourselves
    spec = settings.spec
    folder = fetch(spec.model, spec.revision, weights=True)
    dtype = torch.float32 if settings.lora is None else computation_dtype(settings)
    if settings.lora is not None and settings.lora.four_bit:
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
        options["device_map"] = {"": torch.cuda.current_device() if torch.cuda.is_available() else "cpu"}
    return auto_class.from_pretrained(folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, **options)


def load_tokenizer(settings: TrainingSettings) -> Any:
    """The tokenizer that the trained model is saved with. It pads with its end token where it has no padding."""
    tokenizer = open_chat(settings.spec).tokenizer
    if settings.chat_template is not None:
        tokenizer.chat_template = Path(settings.chat_template).expanduser().read_text(encoding="utf-8")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def lora_config(lora: LoraSettings, task: str) -> Any:
    """The adapters as peft describes them. `task` is peft's: CAUSAL_LM or SEQ_CLS."""
    from peft import LoraConfig

    modules = lora.modules if isinstance(lora.modules, str) else list(lora.modules)
    return LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=modules, task_type=task
    )
