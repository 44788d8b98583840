"""TRL's SFTTrainer whose steps do not depend on how many processes there are.

accelerate fills the last batches of a pass up with rows from its beginning, so that every process has as many. Here
they are filled up with a row of which nothing is learnt: the loss of a step is the sum over its tokens divided by their
number, and such a row has none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

from accelerate.data_loader import SeedableRandomSampler
from datasets import Dataset, concatenate_datasets
from torch.utils.data import Sampler
from trl import SFTTrainer


class FilledUp(Sampler[int]):
    """The order in which one process takes the rows of an epoch, and after it the filler's place, `fillers` times.

    The filler stands behind the rows. `epoch` says which is asked for: a training that goes on begins in a later one.
    """

    def __init__(self, rows: int, fillers: int, epoch: Callable[[], int]) -> None:
        self._order = SeedableRandomSampler(range(rows))  # what accelerate makes of one process's order
        self._filler = rows
        self._fillers = fillers
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self._order.set_epoch(self._epoch())
        yield from self._order
        yield from repeat(self._filler, self._fillers)

    def __len__(self) -> int:
        return len(self._order) + self._fillers


class FineTuningTrainer(SFTTrainer):  # type: ignore[misc]
    """Trains on rows of tokens and labels, packed or not."""

    train_dataset: Any

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self._rows = len(self.train_dataset)
        together = self.args.per_device_train_batch_size * self.args.world_size
        self._fillers = -self._rows % together if self.args.world_size > 1 else 0
        if self._fillers:
            filler = {"input_ids": [self.processing_class.pad_token_id], "labels": [-100], "seq_lengths": [1]}
            columns = {name: [filler[name]] for name in self.train_dataset.column_names}
            row = Dataset.from_dict(columns, features=self.train_dataset.features)
            self.train_dataset = concatenate_datasets([self.train_dataset, row])

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        if not self._fillers:
            return super()._get_train_sampler(dataset)
        return FilledUp(self._rows, self._fillers, lambda: int(self.state.epoch or 0))

    def get_batch_samples(self, *positional: Any) -> Any:
        """The micro-batches of a step, and how many tokens are learnt in them."""
        found = super().get_batch_samples(*positional)
        if self.accelerator.gradient_state.end_of_dataloader:
            self._total_train_tokens -= self._fillers  # a token each, which TRL counts in `num_tokens`
        return found
