"""Batches of prompts computed with transformers, what they share computed once.

Tensors are named by their axes: B rows, T columns of the cache, S new columns, V the vocabulary.

A row's cache may have columns that hold nothing: on the left (rows of different lengths end at the same column) and
between a shared prefix and the row's own tokens. `mask_B_T` is 0 there; a token's position is the number of ones
before it, so that empty columns change nothing but the order of additions.
"""

# ruff: noqa: N803, N806, N815 - tensors are named by their axes
from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

SHORTEST_SHARED = 16
"""Tokens: a shorter prefix is not worth a pass of its own."""
STORED = 4
"""How many prefixes stay in memory."""

KeyValues = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, [B, heads, T, head size]."""


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two prompts have in common from the start."""
    longest = min(len(first), len(second))
    if first[:longest] == second[:longest]:
        return longest
    # Slices are compared in C, so a bisection beats a loop over tokens.
    return bisect_left(range(1, longest + 1), True, key=lambda n: first[:n] != second[:n])


def plan(prompts: Sequence[list[int]], limit: int) -> list[list[int]]:
    """Indices of the prompts in groups of at most `limit`, so that prompts with a long common prefix meet.

    Prompts that share less than half with any other are grouped by length.
    """
    order = sorted(range(len(prompts)), key=lambda index: prompts[index])
    runs: list[list[int]] = []
    for index in order:
        enough = max(SHORTEST_SHARED, len(prompts[index]) // 2)
        if runs and len(runs[-1]) < limit and shared_length(prompts[runs[-1][0]], prompts[index]) >= enough:
            runs[-1].append(index)
        else:
            runs.append([index])
    alone = sorted((run[0] for run in runs if len(run) == 1), key=lambda index: len(prompts[index]))
    groups = [run for run in runs if len(run) > 1]
    return groups + [alone[start : start + limit] for start in range(0, len(alone), limit)]


@dataclass(slots=True)
class Rows:
    """Rows that decode together."""

    key_values: KeyValues
    mask_B_T: torch.Tensor

    def kept(self, indices: list[int]) -> Rows:
        """Only these rows, without the columns that none of them uses on the left."""
        mask = self.mask_B_T[indices]
        start = int(mask.any(dim=0).int().argmax())
        return Rows([(k[indices][:, :, start:], v[indices][:, :, start:]) for k, v in self.key_values], mask[:, start:])

    def joined(self, other: Rows) -> Rows:
        """Both, ending at the same column."""
        width = max(self.mask_B_T.shape[1], other.mask_B_T.shape[1])
        left, right = self._padded(width), other._padded(width)
        pairs = zip(left.key_values, right.key_values, strict=True)
        return Rows(
            [(torch.cat([k, k2]), torch.cat([v, v2])) for (k, v), (k2, v2) in pairs],
            torch.cat([left.mask_B_T, right.mask_B_T]),
        )

    def _padded(self, width: int) -> Rows:
        empty = width - self.mask_B_T.shape[1]
        if not empty:
            return self

        def pad(tensor: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pad(tensor, (0, 0, empty, 0))

        return Rows([(pad(k), pad(v)) for k, v in self.key_values], torch.nn.functional.pad(self.mask_B_T, (empty, 0)))


def forward(
    model: Any, ids_B_S: torch.Tensor, mask_B_T: torch.Tensor, before: KeyValues
) -> tuple[torch.Tensor, KeyValues]:
    """Computes S new columns after `before`. Returns the last column's logits [B, V] in float32, and the new cache."""
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(before):
        cache.update(keys, values, layer)
    positions_B_T = (mask_B_T.cumsum(dim=1) - 1).clamp(min=0)
    output = model(
        input_ids=ids_B_S,
        attention_mask=mask_B_T,
        position_ids=positions_B_T[:, -ids_B_S.shape[1] :],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1].float(), [(layer.keys, layer.values) for layer in output.past_key_values.layers]


@dataclass(slots=True)
class Prefixes:
    """The last few prefixes that were computed, each as one row, the most recent first."""

    stored: list[tuple[list[int], KeyValues]] = field(default_factory=list)

    def longest(self, ids: Sequence[int]) -> tuple[int, KeyValues]:
        """How much of `ids` is known from the start, and its keys and values."""
        best, found = 0, None
        for entry in self.stored:
            length = shared_length(entry[0], ids)
            if length > best:
                best, found = length, entry
        if found is None:
            return 0, []
        self.stored.remove(found)
        self.stored.insert(0, found)
        return best, [(k[:, :, :best], v[:, :, :best]) for k, v in found[1]]

    def remember(self, ids: list[int], key_values: KeyValues) -> None:
        """Keeps a prefix and drops those that it contains, and the oldest."""
        self.stored = [entry for entry in self.stored if ids[: len(entry[0])] != entry[0]]
        self.stored.insert(0, (ids, key_values))
        del self.stored[STORED:]


def prefill(
    model: Any, prompts: Sequence[list[int]], prefixes: Prefixes, device: torch.device
) -> tuple[torch.Tensor, Rows, list[int]]:
    """The logits after each prompt [B, V], the rows, and how many tokens of each row were not computed for it.

    The prefix that all prompts share is computed once, from where a remembered prefix ends; its cost is the first
    row's, so that the tokens computed and the tokens cached add up.
    """
    shortest = min(prompts, key=len)
    shared = min(min(shared_length(shortest, prompt) for prompt in prompts), len(shortest) - 1)
    known, before = prefixes.longest(prompts[0][:shared])
    if known < SHORTEST_SHARED:
        known, before = 0, []
    worth = shared >= SHORTEST_SHARED and len(prompts) > 1
    if worth and shared > known:
        ids = torch.tensor([prompts[0][known:shared]], device=device)
        _, before = forward(model, ids, torch.ones(1, shared, dtype=torch.long, device=device), before)
        prefixes.remember(list(prompts[0][:shared]), before)
    start = shared if worth else known
    rows = len(prompts)
    widest = max(len(prompt) for prompt in prompts) - start
    ids_B_S = torch.zeros(rows, widest, dtype=torch.long)
    mask_B_T = torch.zeros(rows, start + widest, dtype=torch.long)
    mask_B_T[:, :start] = 1
    for row, prompt in enumerate(prompts):
        own = torch.tensor(prompt[start:])
        ids_B_S[row, -len(own) :] = own
        mask_B_T[row, -len(own) :] = 1
    mask_B_T = mask_B_T.to(device)
    spread = [(k.expand(rows, -1, -1, -1), v.expand(rows, -1, -1, -1)) for k, v in before]
    logits_B_V, after = forward(model, ids_B_S.to(device), mask_B_T, spread)
    if rows == 1:
        prefixes.remember(list(prompts[0]), after)
    return logits_B_V, Rows(after, mask_B_T), [known, *([start] * (rows - 1))]


def draw(
    logits_B_V: torch.Tensor,
    temperatures: Sequence[float],
    top_ps: Sequence[float],
    uniforms: Sequence[float],
) -> list[int]:
    """One token a row. Temperature 0 takes the likeliest; otherwise the row's own uniform number in [0, 1) decides.

    The number is inverted through the distribution in the vocabulary's order, so a row draws the same token in any
    batch, unless rounding moves a boundary across its number.
    """
    tokens: list[int] = logits_B_V.argmax(dim=-1).tolist()
    sampled = [row for row, temperature in enumerate(temperatures) if temperature >= 1e-5]
    if not sampled:
        return tokens
    device = logits_B_V.device
    heat = torch.tensor([[temperatures[row]] for row in sampled], device=device)
    p_B_V = torch.softmax(logits_B_V[sampled] / heat, dim=-1)
    if any(top_ps[row] < 1 for row in sampled):
        limit = torch.tensor([[top_ps[row]] for row in sampled], device=device)
        p_B_V = nucleus(p_B_V, limit)
    below_B_V = p_B_V.double().cumsum(dim=-1)
    numbers = torch.tensor([[uniforms[row]] for row in sampled], device=device, dtype=torch.float64)
    drawn = torch.searchsorted(below_B_V, numbers * below_B_V[:, -1:], right=True)
    for row, token in zip(sampled, drawn[:, 0].clamp(max=p_B_V.shape[-1] - 1).tolist(), strict=True):
        tokens[row] = token
    return tokens


def nucleus(p_B_V: torch.Tensor, limit_B_1: torch.Tensor) -> torch.Tensor:
    """The smallest set of likeliest tokens that holds at least the limit; the others get probability 0."""
    ordered, order = p_B_V.sort(dim=-1, descending=True, stable=True)
    outside = ordered.cumsum(dim=-1) - ordered >= limit_B_1
    outside[:, 0] = False
    return p_B_V.masked_fill(torch.zeros_like(outside).scatter(-1, order, outside), 0.0)
