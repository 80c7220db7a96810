"""What all targets share: which outcomes are allowed, and how libFuzzer is called.

A target is a file with ``seeds()``, the inputs to start from, and ``check(data, folder)``, which
reads ``data`` as moenas would. It may return or raise a `MoENASError`; anything else is a finding,
and so is more than 4 GB of memory (with libFuzzer's own, which grows) or 10 s for one input::

    python fuzz/images.py --runs 10000             # or --seconds 300; --seed 1 repeats a run
    python fuzz/images.py build/fuzz/crash-0123    # one input again
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["moenas"]):
    from moenas.errors import MoENASError

FOUND = Path("build/fuzz")
"""Gets the inputs that are findings."""

LIMITS = (
    "-rss_limit_mb=4096",
    "-timeout=10",
    "-max_len=4096",
    "-verbosity=0",
    f"-artifact_prefix={FOUND}/",
)

MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # a disk is slow

_TOKEN = re.compile(rb'"[^"\n]*"|[-+.\w]+')
_STRANGE = (
    *(b"null", b"true", b"-1", b"0", b"0.5", b"1e400", b"-Infinity", b"NaN", b"1e-400", b"300"),
    *(b"9" * 19, b"9" * 400, b"[]", b"{}", b"[1]", b'{"a": 1}', b"[" * 500, b'{"a":' * 400),
    *(b'""', b'"a"', b'"../../a"', b'"/etc/passwd"', b'"\\u0000"', b'"\\ud800"', b'"=1+1"'),
    *(b'"\\u001b[31m"', b"\xff\xfe", b"\x00", b'"' + b"a" * 300 + b'"', b"\n", b",", b""),
)
"""What stands in place of a word, a number or a text of JSON and CSV."""


def fuzz(
    check: Callable[[bytes, Path], None], seeds: Iterable[bytes], *, text: bool = False
) -> None:
    """Call ``check`` with mutations of ``seeds`` and a folder to work in, until libFuzzer ends.

    Args:
        check: Reads the bytes as moenas would.
        seeds: Inputs to start from.
        text: Whether most of it is JSON or CSV: every second mutation then replaces whole values.
    """
    warnings.simplefilter("ignore")
    logging.disable()
    asked = _arguments()
    FOUND.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="moenas-fuzz-", dir=MEMORY))
    folder, corpus = scratch / "work", scratch / "seeds"
    for made in (folder, corpus):
        made.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    start, done = time.monotonic(), 0

    def one(data: bytes) -> None:
        nonlocal done
        seconds = time.monotonic() - start
        if done >= asked.runs or seconds > asked.seconds:
            print(f"{done} runs without a finding in {seconds:.1f} s", flush=True)  # noqa: T201
            shutil.rmtree(scratch)
            os._exit(0)  # Arrow's threads can keep a process from ending otherwise
        done += 1
        try:
            check(data, folder)
        except MoENASError as error:
            if not str(error):
                raise AssertionError("an error without a message") from error
        except BaseException:
            shutil.rmtree(scratch)
            raise

    options = {"custom_mutator": _replace_value} if text else {}
    where = asked.again or [f"-seed={asked.seed}", str(corpus)]
    atheris.Setup([sys.argv[0], *LIMITS, *where], one, **options)
    atheris.Fuzz()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("again", nargs="*", help="inputs to check once more")
    parser.add_argument("--runs", type=int, default=sys.maxsize)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    return parser.parse_args()


def _replace_value(data: bytes, max_size: int, seed: int) -> bytes:
    chance = random.Random(seed)
    values = list(_TOKEN.finditer(data, 1))
    if not values or chance.random() < 0.5:
        return bytes(atheris.Mutate(data, len(data)))
    value = chance.choice(values)
    return (data[: value.start()] + chance.choice(_STRANGE) + data[value.end() :])[:max_size]
