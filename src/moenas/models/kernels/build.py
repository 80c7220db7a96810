"""Build the kernel once for this machine and find it again.

The library's name holds a hash of the sources, the flags, ``$CXX`` and the CPU, so that a change of
any of them builds anew; once built it serves without a compiler too. Beside it lies its own hash: a
library that was cut short is not loaded but built again. A fresh build must pass `self_test` in a
process of its own, which finds wrong code and instructions that the CPU lacks before they can do
harm here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import filelock

from moenas.atomic import write_text
from moenas.errors import MoENASError
from moenas.runs import cache_home

FOLDER = Path(__file__).parent
SOURCES = (
    *("simd.h", "gemm.h", "parallel.h", "tokens.h", "experts.h", "amx.h"),
    *("routing.h", "forward.h", "backward.h", "switch_ffn.cpp"),
)
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread", "-Wno-psabi")
NATIVE = ("-march=native", "-mcpu=native", "")  # the last resort: what every CPU of its kind has
OWNERS = frozenset({0})
"""Whose libraries are loaded, besides this user's own: root's."""
TIMEOUT = 180
"""Seconds that a compiler, or another process that builds, may take."""

_SELF_TEST = "moenas.models.kernels.self_test"


class BuildError(MoENASError):
    """The kernel cannot be had here; the message says why and what would help."""


@dataclasses.dataclass(frozen=True)
class Compiler:
    """A C++ compiler: its command and the first line of its ``--version``."""

    command: tuple[str, ...]
    version: str


def find_compiler() -> Compiler:
    """Return ``$CXX`` (words as in a shell), or the first of c++, g++ and clang++ that answers.

    Raises:
        BuildError: There is none.
    """
    chosen = _chosen_compiler()
    for name, *options in (chosen,) if chosen else ([name] for name in COMPILERS):
        path = shutil.which(name)
        if path is None:
            continue
        command = (path, *options)
        try:
            answer = _run(*command, "--version", timeout=20)
        except (OSError, subprocess.SubprocessError):
            continue
        if answer.returncode == 0 and answer.stdout:
            return Compiler(command, answer.stdout.splitlines()[0].strip())
    if chosen:
        raise BuildError(f"the C++ compiler that CXX names, '{' '.join(chosen)}', does not run")
    raise BuildError("no C++ compiler was found; install g++ or clang")


def _chosen_compiler() -> list[str]:
    text = os.environ.get("CXX", "")
    try:
        return shlex.split(text)
    except ValueError as error:
        raise BuildError(f"CXX is '{text}', which no shell could read: {error}") from error


def library() -> tuple[Path, str]:
    """Return the library for this machine, built if need be, and its compiler's version.

    Raises:
        BuildError: It cannot be built or kept; the message is one line.
    """
    if os.name != "posix":
        raise BuildError("the kernel is built on Linux and macOS only")
    folder = Path()
    try:
        folder = cache_home() / "kernels"
        path = folder / f"switch_ffn-{_fingerprint()}.so"
        if version := _version_of_whole(path):
            return path, version
        compiler = find_compiler()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(folder)
        with filelock.FileLock(path.with_suffix(".lock"), timeout=TIMEOUT):
            if version := _version_of_whole(path):  # another process may have built it meanwhile
                return path, version
            return path, _build(compiler, path)
    except (OSError, RuntimeError, filelock.Timeout, MoENASError) as error:
        if isinstance(error, BuildError):
            raise
        raise BuildError(f"'{folder}' cannot hold it: {error}") from error


def _run(
    *command: str, timeout: float | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the user's own compiler or its product; what takes too long ends with its children."""
    with subprocess.Popen(  # noqa: S603 - no shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        env=env,
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout or TIMEOUT)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((FOLDER / name).read_bytes())
    digest.update(repr((FLAGS, NATIVE, os.environ.get("CXX"), _processor())).encode())
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


def _note_file(path: Path) -> Path:
    return path.with_suffix(".json")


def _version_of_whole(path: Path) -> str | None:
    """Return the compiler's version of a library that is there and whole, else None.

    Raises:
        BuildError: It belongs to somebody else, whose code it would run.
    """
    try:
        note = json.loads(_note_file(path).read_text())
        whole = hashlib.sha256(path.read_bytes()).hexdigest() == note["sha256"]
        version = str(note["compiler"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if not whole:
        return None
    _check_owner(path.parent)
    _check_owner(path)
    return version


def _check_owner(path: Path) -> None:
    if path.stat().st_uid not in OWNERS | {os.getuid()}:
        raise BuildError(
            f"'{path}' belongs to another user; set MOENAS_CACHE to a folder of your own"
        )


def _build(compiler: Compiler, path: Path) -> str:
    """Build, test and keep the library; return what `_version_of_whole` will."""
    reasons: list[str] = []
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as folder:
        made = Path(folder) / path.name
        for native in NATIVE:
            try:
                reason = _try(compiler, (*FLAGS, native) if native else FLAGS, made)
            except subprocess.TimeoutExpired:
                raise BuildError(f"'{compiler.command[0]}' took more than {TIMEOUT} s") from None
            if reason is None:
                version = compiler.version
                if not native:  # slower than it could be
                    version += f", not for this CPU in particular ({reasons[0]})"
                _keep(made, path, version)
                return version
            reasons.append(reason[:200])
    raise BuildError(f"'{compiler.command[0]}' failed: {reasons[-1]}")


def _try(compiler: Compiler, flags: tuple[str, ...], made: Path) -> str | None:
    """Compile and test; return why it failed, in one line."""
    sources = [str(FOLDER / name) for name in SOURCES if name.endswith(".cpp")]
    result = _run(*compiler.command, *flags, *sources, "-o", str(made), "-ldl")
    if result.returncode or not made.exists():
        lines = result.stderr.strip().splitlines() or [f"status {result.returncode}"]
        return next((line for line in lines if "error" in line), lines[0])
    test = _self_test(made)
    if test.returncode == 0:
        return None
    said = (test.stderr.strip().splitlines() or [f"status {test.returncode}"])[-1]
    return f"what it builds fails its own test: {said}"


def _self_test(library: Path) -> subprocess.CompletedProcess[str]:
    """Run it as this process would import it, but never from the current folder."""
    if not sys.executable:
        raise BuildError("there is no Python command to test it with")
    places = [place for place in sys.path if isinstance(place, str) and place]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    return _run(sys.executable, "-P", "-m", _SELF_TEST, str(library), env=env)


def _keep(made: Path, path: Path, version: str) -> None:
    _note_file(path).unlink(missing_ok=True)
    made.replace(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    write_text(_note_file(path), json.dumps({"sha256": digest, "compiler": version}))
