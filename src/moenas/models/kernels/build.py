"""Build the kernel once for this machine and find it again.

The library's name holds a hash of the sources, the flags, the compiler and the CPU, so that a
change of any of them builds anew. Beside it lies its own hash: a library that was cut short is not
loaded but built again. A fresh build must pass its own test in a process of its own, which finds
wrong code and instructions that the CPU lacks before they can do harm here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import filelock

from moenas.errors import MoENASError
from moenas.runs import cache_home, write_text

FOLDER = Path(__file__).parent
SOURCES = (
    *("simd.h", "gemm.h", "parallel.h", "tokens.h", "experts.h"),
    *("routing.h", "forward.h", "backward.h", "switch_ffn.cpp", "self_test.cpp"),
)
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread", "-Wno-psabi")
NATIVE = ("-march=native", "-mcpu=native", "")  # the last resort: what every CPU of its kind has
TIMEOUT = 180
"""Seconds that a compiler, or another process that builds, may take."""

_SELF_TEST = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).moenas_self_test())"


class BuildError(MoENASError):
    """The kernel cannot be had here; the message says why and what would help."""


@dataclasses.dataclass(frozen=True)
class Compiler:
    """A C++ compiler: its command and the first line of its ``--version``."""

    command: str
    version: str


def find_compiler() -> Compiler:
    """Return ``$CXX``, or the first of c++, g++ and clang++ that answers.

    Raises:
        BuildError: There is none.
    """
    chosen = os.environ.get("CXX")
    for name in (chosen,) if chosen else COMPILERS:
        command = shutil.which(name)
        if command is None:
            continue
        try:
            answer = _run(command, "--version", timeout=20)
        except (OSError, subprocess.SubprocessError):
            continue
        if answer.returncode == 0 and answer.stdout:
            return Compiler(command, answer.stdout.splitlines()[0].strip())
    if chosen:
        raise BuildError(f"the C++ compiler that CXX names, '{chosen}', does not run")
    raise BuildError("no C++ compiler was found; install g++ or clang")


def library() -> tuple[Path, Compiler]:
    """Return the library for this machine, built if need be.

    Raises:
        BuildError: It cannot be built or kept; the message is one line.
    """
    if os.name != "posix":
        raise BuildError("the kernel is built on Linux and macOS only")
    compiler = find_compiler()
    path = cache_home() / "kernels" / f"switch_ffn-{_fingerprint(compiler)}.so"
    if _is_whole(path):
        return path, compiler
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with filelock.FileLock(path.with_suffix(".lock"), timeout=TIMEOUT):
            if not _is_whole(path):  # another process may have built it meanwhile
                _build(compiler, path)
    except (OSError, filelock.Timeout, MoENASError) as error:
        if isinstance(error, BuildError):
            raise
        raise BuildError(f"'{path.parent}' cannot hold it: {error}") from error
    return path, compiler


def _run(*command: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - no shell, the user's own compiler
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout or TIMEOUT,
        check=False,
    )


def _fingerprint(compiler: Compiler) -> str:
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((FOLDER / name).read_bytes())
    digest.update(repr((FLAGS, NATIVE, compiler, _processor())).encode())
    return digest.hexdigest()[:20]


def _processor() -> str:
    """What decides which instructions there are: a cache may be shared by different machines."""
    names = ("model name", "flags", "Features", "CPU part")
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    found = dict.fromkeys(line for line in lines if line.startswith(names))
    return "\n".join((platform.platform(), platform.machine(), platform.processor(), *found))


def _digest_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    try:
        stored = _digest_file(path).read_text()
        return hashlib.sha256(path.read_bytes()).hexdigest() == stored
    except (OSError, UnicodeDecodeError):
        return False


def _build(compiler: Compiler, path: Path) -> None:
    sources = [str(FOLDER / name) for name in SOURCES if name.endswith(".cpp")]
    reason = ""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as folder:
        made = Path(folder) / path.name
        for native in NATIVE:
            flags = (*FLAGS, native) if native else FLAGS
            try:
                result = _run(compiler.command, *flags, *sources, "-o", str(made), "-ldl")
                if result.returncode == 0 and made.exists():
                    test = _run(sys.executable, "-c", _SELF_TEST, str(made))
                    if test.returncode == 0:
                        _digest_file(path).unlink(missing_ok=True)
                        made.replace(path)
                        digest = hashlib.sha256(path.read_bytes()).hexdigest()
                        write_text(_digest_file(path), digest)
                        return
                    reason = f"what it builds fails its own test (status {test.returncode})"
                else:
                    lines = result.stderr.strip().splitlines() or [f"status {result.returncode}"]
                    reason = next((line for line in lines if "error" in line), lines[0])
            except subprocess.TimeoutExpired:
                raise BuildError(f"'{compiler.command}' took more than {TIMEOUT} s") from None
    raise BuildError(f"'{compiler.command}' failed: {reason[:200]}")
