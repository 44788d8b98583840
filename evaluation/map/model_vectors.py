"""Pairs as a model sees them, instead of by their words.

    a sentence-embedding model    prompt, chosen and rejected, each as the mean of its last layer's states, side by side
    a preference model            prompt + chosen and prompt + rejected, each as the state that its score is read from

Which of the two a folder holds, its configuration says. Vectors are stored as they come, under the hash of the texts
and the weights they were made of: what is interrupted goes on, and another map of the same texts is drawn at once.

Tensors are named by their axes: B texts, T tokens, D width.
"""

# ruff: noqa: N806
from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from constitution.faults import BadInput, Fault
from constitution.hashing import content_hash
from engine.backends.chat import Chat, open_chat
from engine.backends.folder import TOKENIZER_FILES, fetch, model_faults, model_revision
from engine.backends.spec import ModelSpec
from engine.pairs import Pair, text_of
from engine.storage import Folder
from evaluation.map.vectors import Vectors
from prompts.messages import Message
from trainers.scoring import check_scorer

PAIRS_STORED_TOGETHER = 64
BATCH_SIZE = 16
MOST_TOKENS = 1024
"""Of a text. Of a longer conversation the last are read, since the answer is there; of other texts the first."""


@dataclass(frozen=True)
class Embedder:
    """A model that is loaded. `chat` writes conversations for a preference model; other models read plain texts."""

    name: str
    revision: str
    model: Any
    tokenizer: Any
    chat: Chat | None

    @property
    def description(self) -> str:
        """What the vectors are, for people."""
        kind = "hidden states of the preference model" if self.chat else "sentence embeddings by"
        return f"{kind} {self.name} ({self.revision})"

    def embed(self, pairs: Sequence[Pair]) -> Vectors:
        """One vector a pair, [pairs, 2 or 3 times the width]. Raises TemplateRefused."""
        if self.chat is not None:
            chosen = [[*pair.prompt, *pair.chosen] for pair in pairs]
            rejected = [[*pair.prompt, *pair.rejected] for pair in pairs]
            sides = [self._conversations(side) for side in (chosen, rejected)]
            return np.concatenate([self._states(side) for side in sides], axis=1)
        texts = [
            self._texts([text_of(pair.prompt) for pair in pairs], "left"),
            self._texts([text_of(pair.chosen) for pair in pairs], "right"),
            self._texts([text_of(pair.rejected) for pair in pairs], "right"),
        ]
        return np.concatenate([self._states(side) for side in texts], axis=1)

    def _conversations(self, side: Sequence[Sequence[Message]]) -> list[list[int]]:
        assert self.chat is not None
        longest = min(MOST_TOKENS, self.chat.context_window)
        return [self.chat.encode(conversation, closed=True)[-longest:] for conversation in side]

    def _texts(self, texts: Sequence[str], cut_from: str) -> list[list[int]]:
        longest = min(MOST_TOKENS, self.tokenizer.model_max_length)
        self.tokenizer.truncation_side = cut_from
        tokens: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
        return tokens

    @torch.inference_mode()
    def _states(self, texts: list[list[int]]) -> Vectors:
        """Unit vectors, one a text: the state at the last token for a preference model, else the mean of all."""
        found: list[torch.Tensor] = [torch.empty(0)] * len(texts)
        by_length = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        for start in range(0, len(texts), BATCH_SIZE):
            places = by_length[start : start + BATCH_SIZE]
            lengths_B = torch.tensor([max(1, len(texts[place])) for place in places])
            ids_B_T = torch.zeros((len(places), int(lengths_B.max())), dtype=torch.long)
            for row, place in enumerate(places):
                ids_B_T[row, : len(texts[place])] = torch.tensor(texts[place], dtype=torch.long)
            mask_B_T = (torch.arange(ids_B_T.shape[1]) < lengths_B[:, None]).long()
            device = self.model.device
            output = self.model(input_ids=ids_B_T.to(device), attention_mask=mask_B_T.to(device))
            states_B_T_D = output.last_hidden_state.float().cpu()
            if self.chat is not None:
                pooled_B_D = states_B_T_D[torch.arange(len(places)), lengths_B - 1]
            else:
                pooled_B_D = (states_B_T_D * mask_B_T[:, :, None]).sum(dim=1) / lengths_B[:, None]
            for place, vector_D in zip(places, normalize(pooled_B_D, dim=-1), strict=True):
                found[place] = vector_D
        vectors: Vectors = torch.stack(found).numpy()
        return vectors


def check_embedder(model: str, where: str = "--model") -> Path:
    """The folder of a model that can make vectors. Raises BadInput where it cannot, without loading weights."""
    folder = fetch(model, None, weights=True, where=where)
    if faults := model_faults(folder, where=where):
        raise BadInput(faults)
    if _is_classifier(folder):
        return check_scorer(model, where)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        hint = "save it with tokenizer.save_pretrained(...)"
        raise BadInput(Fault("no tokenizer in the folder", file=str(folder), where=where, hint=hint))
    return folder


def _is_classifier(folder: Path) -> bool:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return any(name.endswith("ForSequenceClassification") for name in config.get("architectures") or ())


def open_embedder(model: str, where: str = "--model") -> Embedder:
    """Loads a model: on a GPU where there is one, in float32 on a CPU. Raises BadInput."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # we report progress ourselves
    logging.set_verbosity_error()  # a preference model's head is left out on purpose
    folder = check_embedder(model, where)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    try:
        loaded = AutoModel.from_pretrained(folder, dtype=dtype, use_safetensors=True, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        message = f"transformers cannot load this model: {type(error).__name__}: {error}"
        raise BadInput(Fault(message, file=str(folder), where=where)) from None
    chat = open_chat(ModelSpec(model=str(folder))) if _is_classifier(folder) else None
    return Embedder(model, model_revision(folder), loaded.to(device).eval(), tokenizer, chat)


def model_vectors(
    embedder: Embedder, pairs: Sequence[Pair], store: Folder, tell: Callable[[int], None] = lambda done: None
) -> Vectors:
    """One vector a pair. Those that the store holds are taken from there, the others are made and stored.

    `tell` is called with the number of pairs that are done.
    """
    parts = []
    for start in range(0, len(pairs), PAIRS_STORED_TOGETHER):
        part = pairs[start : start + PAIRS_STORED_TOGETHER]
        said = [[pair.prompt, pair.chosen, pair.rejected] for pair in part]
        name = f"{content_hash([embedder.revision, MOST_TOKENS, said])}.npy"
        if store.exists(name):
            parts.append(np.load(io.BytesIO(store.read(name)), allow_pickle=False))
        else:
            parts.append(embedder.embed(part))
            file = io.BytesIO()
            np.save(file, parts[-1], allow_pickle=False)
            store.write(name, file.getvalue())
        tell(start + len(part))
    return np.concatenate(parts)
