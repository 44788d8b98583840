"""Both layouts of a pair give the same rewards and the same gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForSequenceClassification,
)

from trainers.shared_prefix import (
    EncodedPair,
    branch_mask,
    may_share,
    pair_batch,
    pair_rewards,
    read_at_ends,
    shared_length,
)

PROMPT = list(range(10, 40))
PAIRS = [
    EncodedPair(chosen_ids=[*PROMPT, 1, 2, 3], rejected_ids=[*PROMPT, 4, 5], shared=30),
    EncodedPair(chosen_ids=[*PROMPT[:20], 6], rejected_ids=[*PROMPT[:20], 7, 8, 9, 9], shared=20),
]


def llama(**changes: Any) -> Any:
    torch.manual_seed(0)
    settings = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "num_labels": 1, "pad_token_id": 0,
        "initializer_range": 0.3,
    }  # fmt: skip
    return read_at_ends(LlamaForSequenceClassification(LlamaConfig(**settings | changes)))


def gradients(model: Any, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    model.zero_grad()
    torch.autograd.backward((pair_rewards(model, batch) * torch.tensor([[1.0], [-2.0]])).sum())
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_one_row_gives_the_rewards_and_gradients_of_two(attention: str) -> None:
    model = llama(attn_implementation=attention)
    one, two = pair_batch(PAIRS, may_share=True), pair_batch(PAIRS, may_share=False)
    assert one["input_ids"].shape == (2, 35)
    assert two["input_ids"].shape == (4, 33)
    assert torch.allclose(pair_rewards(model, one), pair_rewards(model, two), atol=1e-5)
    for shared, plain in zip(gradients(model, one), gradients(model, two), strict=True):
        assert torch.allclose(shared, plain, atol=1e-4)


def test_rewards_are_those_that_transformers_gives_each_conversation_alone() -> None:
    model = llama()
    rewards = pair_rewards(model, pair_batch(PAIRS, may_share=True))
    for side, name in enumerate(("chosen_ids", "rejected_ids")):
        for place, pair in enumerate(PAIRS):
            alone = model(input_ids=torch.tensor([pair[name]])).logits.item()  # type: ignore[literal-required]
            assert rewards[side, place].item() == pytest.approx(alone, abs=1e-5)


def test_a_token_sees_what_is_shared_and_its_own_branch() -> None:
    (mask,) = branch_mask(torch.tensor([[0, 0, 1, 2, 2, 3]]))[0]
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 1, 0, 1, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]


def test_two_rows_are_kept_where_one_saves_nothing() -> None:
    short = [EncodedPair(chosen_ids=[1, 2, 3, 4, 5], rejected_ids=[1, 7, 8, 9, 9], shared=1)]
    assert "branches_R_T" not in pair_batch(short, may_share=True)
    assert "branches_R_T" in pair_batch(PAIRS, may_share=True)


def test_each_answer_keeps_a_token_of_its_own() -> None:
    assert shared_length([1, 2, 3], [1, 2, 4, 5]) == 2
    assert shared_length([1, 2, 3], [1, 2, 3, 4]) == 2
    assert shared_length([1], [2]) == 0


def test_models_that_cannot_share_are_seen() -> None:
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_labels": 1}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 64}
    window = MistralForSequenceClassification(MistralConfig(**sizes, **heads, sliding_window=4096))
    gpt2 = GPT2ForSequenceClassification(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=64, num_labels=1))
    assert may_share(llama())
    assert not may_share(read_at_ends(window))
    assert may_share(read_at_ends(gpt2)), "positions it has learnt are given, too"
    leaking = llama()
    leaking.model.rotary_emb.forward = lambda x, position_ids: llama().model.rotary_emb(
        x, torch.arange(x.shape[1])[None]
    )
    assert not may_share(leaking), "a model that counts positions by itself gives the second answer others"
