"""Preference models as scorers: the score of a conversation, and folders that are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from constitution.faults import BadInput
from engine.backends.chat import open_chat
from engine.backends.spec import ModelSpec
from prompts.messages import Message
from tests.engine.tiny_model import make_tiny_preference_model, tiny_tokenizer
from trainers.scoring import check_scorer, open_scorer


def talk(*texts: str) -> list[Message]:
    roles = ("user", "assistant")
    return [Message(role=roles[n % 2], content=text) for n, text in enumerate(texts)]  # type: ignore[typeddict-item]


TALKS = [talk("Hi", "Hello."), talk("How?", "So. " * 40, "Why?", "Because."), talk("A", "B")]


def test_scores_are_read_at_the_last_token_and_do_not_depend_on_the_batch(tiny_preference_model: Path) -> None:
    scorer = open_scorer(str(tiny_preference_model), batch_size=3)
    scores = scorer.score(TALKS)
    assert scores == pytest.approx([scorer.score([each])[0] for each in TALKS], abs=1e-5)
    chat = open_chat(ModelSpec(model=str(tiny_preference_model)))
    model = AutoModelForSequenceClassification.from_pretrained(tiny_preference_model)
    ids = torch.tensor([chat.encode(TALKS[1], closed=True)])
    with torch.inference_mode():
        by_hand = model.score(model.model(ids).last_hidden_state[0, -1])
    assert scores[1] == pytest.approx(by_hand.item(), abs=1e-5)
    assert len(set(scores)) == 3


def test_a_conversation_that_does_not_fit_has_no_score(tiny_preference_model: Path) -> None:
    scorer = open_scorer(str(tiny_preference_model))
    scorer.context_window = 40
    assert scorer.score([TALKS[1], TALKS[2]])[0] is None
    assert scorer.score([TALKS[1], TALKS[2]])[1] is not None


def test_folders_that_are_no_preference_model_are_refused(
    tiny_model: Path, tiny_preference_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="it is a LlamaForCausalLM"):
        check_scorer(str(tiny_model))
    with pytest.raises(BadInput, match="it has 3 labels"):
        check_scorer(str(make_tiny_preference_model(tiny_model, tmp_path / "three", 3)))
    foreign = tmp_path / "foreign"
    shutil.copytree(tiny_preference_model, foreign)
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"<extra {n}>" for n in range(9)])
    tokenizer.save_pretrained(foreign)
    with pytest.raises(BadInput, match="another model's"):
        check_scorer(str(foreign))
    headless = tmp_path / "headless"
    shutil.copytree(tiny_model, headless)
    config = json.loads((headless / "config.json").read_text())
    config |= {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    (headless / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match="would be random"):
        open_scorer(str(headless))
