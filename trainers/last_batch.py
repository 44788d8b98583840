"""The last batch of a pass, where the rows are no multiple of the batch: the same on any number of processes.

    7 rows, batches of 4, two processes:    first  0 1 | 4 5      second  2 3 | 6 0

accelerate fills the last batches up with rows from the beginning of the pass, so that every process has as many, and
transformers averages micro-batches whatever their number of rows. Here the rows that fill up weigh nothing and the
others are counted once, so that a step's loss is the mean over its rows, as in one process with one micro-batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch


def row_scales(
    sizes: Sequence[int], *, step: int, rows: int, micro_batch: int, accumulation: int, processes: int, process: int
) -> list[torch.Tensor] | None:
    """What the weights of the rows in the micro-batches of one process are multiplied by in a step, a tensor for each
    micro-batch; None where the step's batch is whole.

    Args:
        sizes: Rows in each of this process's micro-batches, those that fill up among them.
        step: Steps since the training began.
        rows: Rows of a pass.
        micro_batch: Rows of a whole micro-batch.
        accumulation: Micro-batches of a whole step in each process.
        processes: How many train together.
        process: Which of them this is, from 0.
    """
    whole = micro_batch * accumulation * processes
    start = step % math.ceil(rows / whole) * whole
    counted = min(whole, rows - start)
    if counted == whole:
        return None
    scales = []
    for place, size in enumerate(sizes):
        first = start + (place * processes + process) * micro_batch
        own = torch.arange(first, first + size) < rows
        # Undoes the means over a micro-batch, over a process's micro-batches, and over processes.
        scales.append(own * (size * len(sizes) * processes / counted))
    return scales


class LastBatchTrainer:
    """A trainer whose loss is a mean of `weight` times something over the rows of a micro-batch: goes before a Trainer
    of transformers among the base classes."""

    args: Any
    state: Any
    train_dataset: Any

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        """The micro-batches of a step, and what transformers counts in them."""
        batches, counted = super().get_batch_samples(epoch_iterator, num_batches, device)  # type: ignore[misc]
        scales = row_scales(
            [len(batch["weight"]) for batch in batches],
            step=self.state.global_step,
            rows=len(self.train_dataset),
            micro_batch=self.args.per_device_train_batch_size,
            accumulation=self.args.gradient_accumulation_steps,
            processes=self.args.world_size,
            process=self.args.process_index,
        )
        for batch, scale in zip(batches, scales or (), strict=scales is not None):
            batch["weight"] = batch["weight"] * scale.to(batch["weight"])
        return batches, counted
