"""Two answers to one prompt in one row, so that the prompt is computed once.

    two rows   prompt chosen            one row   prompt chosen rejected
               prompt rejected          positions 0 1 2  3 4 5  3 4 5        the branches do not see each other

A causal decoder gives every token the same hidden state in both, up to rounding, so rewards and gradients are those of
two rows. It is used where it saves tokens and where a model proves on random tokens that it computes the same.

Tensors are named by their axes: B pairs, R rows, T tokens, K places read a row, D width.
"""

# ruff: noqa: N803, N806
from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import torch

SAVING = 0.9
"""One row a pair is taken where it needs less than this share of the tokens of two, padding included."""
PADDING_BRANCH = 3


class EncodedPair(TypedDict):
    """Both finished conversations as token ids. The first `shared` ids are the same, and each has at least one more."""

    chosen_ids: Sequence[int]
    rejected_ids: Sequence[int]
    shared: int


def shared_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids both begin with, so that each has at least one more."""
    most = min(len(one), len(other)) - 1
    return next((place for place in range(most) if one[place] != other[place]), most)


def pair_batch(pairs: Sequence[EncodedPair], *, may_share: bool, pad: int = 0) -> dict[str, torch.Tensor]:
    """The cheaper of both layouts for these pairs, as keyword arguments of a model that `read_at_ends` prepared.

    `input_ids` and, for two rows a pair, `attention_mask`, or `branches_R_T` and `position_ids` for one; `ends_R_K` are
    the places that a reward is read at. Rows of a pair are B apart, as TRL has them.
    """
    one_row = max(len(pair["chosen_ids"]) + len(pair["rejected_ids"]) - pair["shared"] for pair in pairs)
    two_rows = 2 * max(len(ids) for pair in pairs for ids in (pair["chosen_ids"], pair["rejected_ids"]))
    return _branched(pairs, pad) if may_share and one_row < SAVING * two_rows else _plain(pairs, pad)


def _plain(pairs: Sequence[EncodedPair], pad: int) -> dict[str, torch.Tensor]:
    rows = [*(pair["chosen_ids"] for pair in pairs), *(pair["rejected_ids"] for pair in pairs)]
    return {
        "input_ids": _padded(rows, pad),
        "attention_mask": _padded([[1] * len(ids) for ids in rows], 0),
        "ends_R_K": torch.tensor([[len(ids) - 1] for ids in rows]),
    }


def _branched(pairs: Sequence[EncodedPair], pad: int) -> dict[str, torch.Tensor]:
    ids: list[Sequence[int]] = []
    branches: list[list[int]] = []
    positions: list[list[int]] = []
    ends: list[list[int]] = []
    for pair in pairs:
        shared, chosen, rejected = pair["shared"], len(pair["chosen_ids"]), len(pair["rejected_ids"])
        ids.append([*pair["chosen_ids"], *pair["rejected_ids"][shared:]])
        branches.append([0] * shared + [1] * (chosen - shared) + [2] * (rejected - shared))
        positions.append([*range(chosen), *range(shared, rejected)])
        ends.append([chosen - 1, chosen + rejected - shared - 1])
    return {
        "input_ids": _padded(ids, pad),
        "branches_R_T": _padded(branches, PADDING_BRANCH),
        "position_ids": _padded(positions, 0),
        "ends_R_K": torch.tensor(ends),
    }


def _padded(rows: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    filled = torch.full((len(rows), max(map(len, rows))), filler)
    for place, row in enumerate(rows):
        filled[place, : len(row)] = torch.as_tensor(row)
    return filled


def branch_mask(branches_R_T: torch.Tensor) -> torch.Tensor:
    """Which token may see which, shape R × 1 × T × T: those before it that are shared or of its own branch."""
    own = branches_R_T[:, :, None] == branches_R_T[:, None, :]
    visible = own | (branches_R_T[:, None, :] == 0)
    return (visible & torch.ones_like(own[0]).tril())[:, None]


def read_at_ends(model: Any) -> Any:
    """Lets a sequence classifier be called with the batches of `pair_batch`; other calls are as before. Returns it.

    The change is to this object's `forward` and not around it, so that adapters, DistributedDataParallel and FSDP see
    one forward pass of one model. Raises ValueError where the model has no head named `score` over its decoder.
    """
    plain = model.forward
    decoder = getattr(model, model.base_model_prefix, None)
    if decoder is None or not hasattr(model, "score"):
        raise ValueError(f"{type(model).__name__} has no `score` head over a decoder")

    @functools.wraps(plain)
    def forward(*arguments: Any, ends_R_K: torch.Tensor | None = None, **named: Any) -> Any:
        if ends_R_K is None:
            return plain(*arguments, **named)
        from transformers.modeling_outputs import SequenceClassifierOutputWithPast

        mask = branch_mask(named["branches_R_T"]) if "branches_R_T" in named else named["attention_mask"]
        if "branches_R_T" in named and model.config._attn_implementation == "eager":  # it adds its mask
            mask = torch.where(mask, 0.0, torch.finfo(model.dtype).min).to(model.dtype)
        hidden_R_T_D = getattr(model, model.base_model_prefix)(
            input_ids=named["input_ids"],
            attention_mask=mask,
            position_ids=named.get("position_ids"),
            use_cache=False,
        ).last_hidden_state
        rows = torch.arange(len(ends_R_K), device=ends_R_K.device)[:, None]
        return SequenceClassifierOutputWithPast(logits=model.score(hidden_R_T_D[rows, ends_R_K]).squeeze(-1))

    model.forward = forward
    return model


def pair_rewards(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The rewards of the chosen and the rejected answers, shape 2 × B."""
    logits_R_K: torch.Tensor = model(**batch).logits
    return logits_R_K.T if "branches_R_T" in batch else logits_R_K.view(2, -1)


def may_share(model: Any) -> bool:
    """Whether the model gives two answers in one row the rewards that it gives them in two: tried on random tokens.

    False for models whose layers look back over a window only, which a short trial would not show, and for attention
    kernels that take no mask of their own.
    """
    config = model.config.get_text_config()
    if model.config._attn_implementation not in ("sdpa", "eager"):
        return False
    if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()):
        return False
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return False
    chance = torch.Generator().manual_seed(0)
    prompt, chosen, rejected = (torch.randint(config.vocab_size, (n,), generator=chance).tolist() for n in (20, 9, 12))
    pair = EncodedPair(chosen_ids=prompt + chosen, rejected_ids=prompt + rejected, shared=len(prompt))
    training = model.training
    model.eval()
    with torch.no_grad():
        one, two = (
            pair_rewards(model, {name: tensor.to(model.device) for name, tensor in batch.items()}).float()
            for batch in (_branched([pair], 0), _plain([pair], 0))
        )
    model.train(training)
    tolerance = 1e-4 if model.dtype == torch.float32 else 3e-2
    return torch.allclose(one, two, rtol=tolerance, atol=tolerance * float(two.abs().max()))
