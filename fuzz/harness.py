"""What all targets share: which outcomes are allowed, and how libFuzzer is called.

A target is a file with ``seeds()``, the inputs to start from, and ``check(data)``, which reads
``data`` as moenas would. It may return or raise a `MoENASError`; anything else is a finding, and so
is more than 2 GB of memory or 10 s for one input::

    python fuzz/images.py -runs=10000              # any flag of libFuzzer
    python fuzz/images.py crash-0123abcd           # one input again
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["moenas"]):
    from moenas.errors import MoENASError

FOUND = Path("build/fuzz")
"""Gets the inputs that are findings."""

LIMITS = (
    "-rss_limit_mb=2048",
    "-timeout=10",
    "-max_len=4096",
    "-print_final_stats=1",
    f"-artifact_prefix={FOUND}/",
)

MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108 - a disk is slow


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one."""
    path = Path(tempfile.mkdtemp(prefix="moenas-fuzz-", dir=MEMORY))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def fuzz(check: Callable[[bytes, Path], None], seeds: Iterable[bytes]) -> None:
    """Call ``check`` with mutations of ``seeds`` and a folder to work in, until libFuzzer ends.

    Args:
        check: Reads the bytes as moenas would.
        seeds: Inputs to start from.
    """
    warnings.simplefilter("ignore")
    with scratch() as corpus, scratch() as folder:
        for number, seed in enumerate(seeds):
            (corpus / f"seed-{number}").write_bytes(seed)

        def one(data: bytes) -> None:
            try:
                check(data, folder)
            except MoENASError as error:
                assert str(error), "an error without a message"

        again = [word for word in sys.argv[1:] if not word.startswith("-")]
        FOUND.mkdir(parents=True, exist_ok=True)
        program, *flags = sys.argv
        atheris.Setup([program, *LIMITS, *flags, *([] if again else [str(corpus)])], one)
        atheris.Fuzz()
