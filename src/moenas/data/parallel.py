"""One map over many processes, in order and with bounded memory."""

from __future__ import annotations

import dataclasses
import multiprocessing
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from moenas.errors import DataError, MoENASError
from moenas.runtime import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class _Failure:
    """A user's error as it travels between processes: torch would wrap it in a traceback."""

    message: str


class _Mapped(Dataset[Result | _Failure], Generic[Item, Result]):
    def __init__(self, function: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self.function = function
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Result | _Failure:
        try:
            return self.function(self.items[index])
        except MoENASError as error:
            return _Failure(str(error))


def _same(value: Any) -> Any:
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

    Raises:
        DataError: ``function`` raised an error that is written for the user, or a process died.
    """
    workers = min(workers or available_cores(), len(items))
    if workers <= 1 or multiprocessing.current_process().daemon:
        yield from map(function, items)
        return
    # Forked workers need no `if __name__ == "__main__"` in the user's script. Python warns that
    # threads do not survive a fork; these workers use none of the parent's.
    context = "fork" if sys.platform == "linux" else None
    loader: DataLoader[Result | _Failure] = DataLoader(
        _Mapped(function, items),
        batch_size=None,
        num_workers=workers,
        collate_fn=_same,
        multiprocessing_context=context,
        generator=torch.Generator(),  # its own: the global one stays as the user seeded it
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        results = iter(loader)
    try:
        for result in results:
            if isinstance(result, _Failure):
                raise DataError(result.message)
            yield result
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) or "Original Traceback" in str(error):
            raise
        raise DataError(
            "A process that prepared images died, perhaps for want of memory. Run the same "
            "command again: what was finished is kept."
        ) from error
