"""Preference models with random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def make_scorer(model: Path, folder: Path, seed: int = 0) -> Path:
    """A preference model over a tiny model's layers, with a head drawn from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        scorer = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
        with torch.no_grad():
            scorer.score.weight.normal_(0, 0.5)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.bos_token
    scorer.config.pad_token_id = tokenizer.pad_token_id
    scorer.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
