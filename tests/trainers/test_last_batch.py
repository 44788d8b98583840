"""Rows of an incomplete batch count once, on however many processes and in whatever micro-batches."""

from __future__ import annotations

import pytest
import torch

from trainers.last_batch import row_scales


def shards(rows: int, micro_batch: int, processes: int) -> list[list[list[int]]]:
    """Each process's micro-batches of a pass, filled up as accelerate does."""
    batches = [list(range(start, min(start + micro_batch, rows))) for start in range(0, rows, micro_batch)]
    if processes > 1:
        while len(batches) % processes or len(batches[-1]) < micro_batch:
            if len(batches[-1]) == micro_batch:
                batches.append([])
            batches[-1].append(len(batches[-1]) % rows)
    return [batches[process::processes] for process in range(processes)]


@pytest.mark.parametrize(
    ("rows", "micro_batch", "accumulation", "processes"),
    [(53, 2, 2, 2), (53, 2, 4, 2), (53, 8, 1, 1), (53, 3, 2, 1), (16, 2, 2, 2), (3, 4, 1, 3), (49, 4, 2, 2)],
)
def test_every_row_of_a_pass_weighs_as_in_one_process(
    rows: int, micro_batch: int, accumulation: int, processes: int
) -> None:
    mine = shards(rows, micro_batch, processes)
    whole = micro_batch * accumulation * processes
    passes = -(-rows // whole)
    for step in range(2 * passes):
        shares = torch.zeros(rows)
        places = slice(step % passes * accumulation, (step % passes + 1) * accumulation)
        for process, batches in enumerate(mine):
            batch = batches[places]
            scales = row_scales(
                [len(each) for each in batch],
                step=step,
                rows=rows,
                micro_batch=micro_batch,
                accumulation=accumulation,
                processes=processes,
                process=process,
            )
            for place, each in enumerate(batch):
                weights = scales[place] if scales else torch.ones(len(each))
                # as transformers and data parallelism do: means over rows, micro-batches and processes
                shares.index_add_(0, torch.tensor(each), weights / len(each) / len(batch) / processes)
        expected = torch.zeros(rows)
        first = step % passes * whole
        expected[first : first + whole] = 1 / min(whole, rows - first)
        assert shares.allclose(expected, atol=1e-6)


def test_one_process_with_whole_micro_batches_is_left_as_it_is() -> None:
    scales = row_scales([5], step=6, rows=53, micro_batch=8, accumulation=1, processes=1, process=0)
    assert scales is not None
    assert [each.tolist() for each in scales] == [[1.0] * 5]
