"""One map over many processes, in order and with bounded memory."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from moenas.runtime import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Mapped(Dataset[Result], Generic[Item, Result]):
    def __init__(self, function: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self.function = function
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Result:
        return self.function(self.items[index])


def _same(value: Result) -> Result:
    return value


def parallel_map(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None
) -> Iterator[Result]:
    """Yield ``function(item)`` of each item, in their order, computed by several processes.

    torch's own loader does it: it bounds the results in flight and notices a worker that dies.

    Args:
        function: Picklable, as are its results.
        items: What to map over.
        workers: Processes; by default one a core. 1, or a process that may have no children,
            computes in this process.
    """
    workers = min(workers or available_cores(), len(items))
    if workers <= 1 or multiprocessing.current_process().daemon:
        yield from map(function, items)
        return
    # Forked workers need no `if __name__ == "__main__"` in the user's script. Python warns that
    # threads do not survive a fork; these workers use none of the parent's.
    context = "fork" if sys.platform == "linux" else None
    loader: DataLoader[Result] = DataLoader(
        _Mapped(function, items),
        batch_size=None,
        num_workers=workers,
        collate_fn=_same,
        multiprocessing_context=context,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        results = iter(loader)
    yield from results
