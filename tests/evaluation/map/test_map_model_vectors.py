"""Vectors from models: what is read of which, and what is stored."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from constitution.faults import BadInput
from engine.storage import Folder
from evaluation.map.model_vectors import check_embedder, model_vectors, open_embedder
from tests.engine.tiny_model import tiny_tokenizer
from tests.evaluation.map.pairs_for_tests import pair

PAIRS = [
    pair("Where is it?", "Here.", "There, I think, but it may be elsewhere.", 0),
    pair("", "Here.", "", 1),
    pair("Where is it?", "There, I think, but it may be elsewhere.", "Here.", 2),
]


@pytest.fixture(scope="module")
def preference_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=1,
    )
    folder = tmp_path_factory.mktemp("models") / "preference"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_preference_model_gives_the_states_its_score_is_read_from(preference_model: Path, tmp_path: Path) -> None:
    import torch
    from transformers import LlamaForSequenceClassification

    embedder = open_embedder(str(preference_model))
    assert "hidden states of the preference model" in embedder.description
    vectors = model_vectors(embedder, PAIRS, Folder(str(tmp_path)))
    assert vectors.shape == (3, 64)
    assert embedder.chat is not None
    model = LlamaForSequenceClassification.from_pretrained(preference_model).eval()
    for row, side in ((0, "chosen"), (2, "rejected")):
        conversation = [*PAIRS[row].prompt, *getattr(PAIRS[row], side)]
        ids = torch.tensor([embedder.chat.encode(conversation, closed=True)])
        with torch.inference_mode():
            state = model.model(input_ids=ids).last_hidden_state[0, -1].numpy()
        half = vectors[row, :32] if side == "chosen" else vectors[row, 32:]
        np.testing.assert_allclose(half, state / np.linalg.norm(state), atol=1e-4)
    np.testing.assert_allclose(vectors[0, :32], vectors[2, 32:], atol=1e-4)


def test_any_other_model_gives_the_mean_of_its_states(tiny_model: Path, tmp_path: Path) -> None:
    embedder = open_embedder(str(tiny_model))
    assert embedder.description.startswith("sentence embeddings by ")
    together = model_vectors(embedder, PAIRS, Folder(str(tmp_path / "a")))
    alone = model_vectors(embedder, PAIRS[1:2], Folder(str(tmp_path / "b")))
    assert together.shape == (3, 3 * 64)
    np.testing.assert_allclose(together[1], alone[0], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(together.reshape(9, 64), axis=1)[[0, 1, 2, 4, 6, 7, 8]], 1, atol=1e-4)


def test_what_was_read_is_not_read_again(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = open_embedder(str(tiny_model))
    monkeypatch.setattr("evaluation.map.model_vectors.PAIRS_STORED_TOGETHER", 1)
    store, done = Folder(str(tmp_path)), list[int]()
    first = model_vectors(embedder, PAIRS[:2], store, done.append)
    assert done == [1, 2]
    with mock.patch.object(type(embedder), "embed", autospec=True, side_effect=type(embedder).embed) as embed:
        again = model_vectors(embedder, PAIRS, store)
    assert [list(call.args[1]) for call in embed.call_args_list] == [PAIRS[2:]]
    np.testing.assert_array_equal(again[:2], first)


def test_a_folder_of_pickles_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((tiny_model / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(BadInput, match="pickles"):
        check_embedder(str(tmp_path))
