"""Preference models at work: conversations in, scores out. Higher is better.

A preference model is a folder that transformers loads as a sequence classifier with one label: config.json, weights in
safetensors, and its own tokenizer with a chat template. The score is read at the last token of the finished
conversation, whatever the padding token is: a model that pads with its end token is read at its end token, too.

Tensors are named by their axes: B conversations, T tokens, D width.
"""

# ruff: noqa: N803, N806
from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from constitution.faults import BadInput, Fault
from engine.backends.chat import Chat, open_chat
from engine.backends.folder import TRAINED, fetch, model_faults, model_revision, tokenizer_faults
from engine.backends.spec import ModelSpec
from prompts.messages import Message
from trainers.loading import check_tokenizer


def check_scorer(model: str, where: str = "preference_model", revision: str | None = None) -> Path:
    """The folder of a preference model. Raises BadInput where it is none, without loading weights."""
    folder = fetch(model, revision, weights=True, where=where)
    faults = model_faults(folder, where=where) or _kind_faults(folder, where)
    faults = faults or tokenizer_faults(folder, None, where=where)
    if faults:
        raise BadInput(faults)
    check_tokenizer(folder, open_chat(ModelSpec(model=str(folder))), where)
    return folder


def constitutions_behind(folder: Path) -> tuple[str, ...]:
    """The hashes of the constitutions that the pairs of a preference model were labelled under, as its training noted
    them; none where the folder is not a training's."""
    manifest = folder.parent / "manifest.json"
    if folder.name != TRAINED or not manifest.is_file():
        return ()
    data = json.loads(manifest.read_text(encoding="utf-8")).get("data", {})
    return tuple(data.get("constitutions", ()))


def _kind_faults(folder: Path, where: str) -> list[Fault]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = config.get("architectures") or ["nothing"]
    if not any(name.endswith("ForSequenceClassification") for name in names):
        message = f"it is a {', '.join(names)}, and a preference model is a …ForSequenceClassification"
        return [Fault(message, file=str(folder), where=where, hint="train one with `charter train pm`")]
    labels = len(config["id2label"]) if "id2label" in config else config.get("num_labels", 2)
    if labels != 1:
        message = f"it has {labels} labels, and a preference model gives one score"
        return [Fault(message, file=str(folder), where=where, hint="train it with num_labels=1")]
    return []


def last_token_scores(model: Any, ids_B_T: torch.Tensor, mask_B_T: torch.Tensor) -> torch.Tensor:
    """The score of each conversation, shape B: the head's output at the last token that the mask keeps.

    Raises ValueError where the model has no head named `score` over its decoder.
    """
    decoder = getattr(model, model.base_model_prefix, None)
    if decoder is None or not hasattr(model, "score"):
        raise ValueError(f"{type(model).__name__} has no `score` head over a decoder")
    hidden_B_T_D = decoder(input_ids=ids_B_T, attention_mask=mask_B_T, use_cache=False).last_hidden_state
    places_B = (mask_B_T * torch.arange(1, mask_B_T.shape[1] + 1, device=mask_B_T.device)).argmax(-1)
    scores_B_1: torch.Tensor = model.score(hidden_B_T_D[torch.arange(len(places_B)), places_B])
    return scores_B_1.squeeze(-1)


class Scorer:
    """A preference model in this process."""

    def __init__(self, model: Any, chat: Chat, revision: str, batch_size: int = 16) -> None:
        self.name = chat.name
        self.revision = revision
        self.context_window = chat.context_window
        self._model = model
        self._chat = chat
        self._batch_size = batch_size

    def encode(self, conversation: Sequence[Message]) -> list[int]:
        """The finished conversation as the model reads it. Raises TemplateRefused."""
        return self._chat.encode(conversation, closed=True)

    def score(self, conversations: Sequence[Sequence[Message]]) -> list[float | None]:
        """A score for each conversation, in order; None where it is longer than the model's window.

        Raises TemplateRefused where the chat template does not take a conversation.
        """
        return self.score_ids([self.encode(conversation) for conversation in conversations])

    def score_ids(self, conversations: Sequence[Sequence[int]]) -> list[float | None]:
        """As `score`, for conversations that are token ids already."""
        scores: list[float | None] = [None] * len(conversations)
        with torch.inference_mode():
            for places in self._batches(conversations):
                batch = [conversations[place] for place in places]
                for place, score in zip(places, self._forward(batch), strict=True):
                    scores[place] = score
        return scores

    def _batches(self, conversations: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Places of conversations of like lengths, the longest first; those that do not fit are in none."""
        fitting = [place for place, ids in enumerate(conversations) if 0 < len(ids) <= self.context_window]
        fitting.sort(key=lambda place: -len(conversations[place]))
        for start in range(0, len(fitting), self._batch_size):
            yield fitting[start : start + self._batch_size]

    def _forward(self, batch: Sequence[Sequence[int]]) -> list[float]:
        width = max(map(len, batch))
        ids_B_T = torch.zeros((len(batch), width), dtype=torch.long)
        mask_B_T = torch.zeros_like(ids_B_T)
        for row, ids in enumerate(batch):
            ids_B_T[row, : len(ids)] = torch.tensor(ids)
            mask_B_T[row, : len(ids)] = 1
        device = self._model.device
        scores: list[float] = last_token_scores(self._model, ids_B_T.to(device), mask_B_T.to(device)).float().tolist()
        return scores


def open_scorer(
    model: str, *, where: str = "preference_model", revision: str | None = None, batch_size: int = 16
) -> Scorer:
    """Loads a preference model: on a GPU where there is one, in float32 on a CPU. Raises BadInput."""
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    logging.disable_progress_bar()  # we report progress ourselves
    folder = check_scorer(model, where, revision)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    loaded, report = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
    )
    missing = [name for name in report["missing_keys"] if name.startswith("score")]
    if missing:
        message = f"the weights hold no {missing[0]!r}: the head would be random numbers"
        raise BadInput(Fault(message, file=str(folder), where=where, hint="name a trained preference model"))
    chat = open_chat(ModelSpec(model=str(folder)))
    return Scorer(loaded.to(device).eval(), chat, model_revision(folder), batch_size)
