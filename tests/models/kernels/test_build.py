"""Building, finding and loading the library, and what happens where that fails."""

import contextlib
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from moenas.models.kernels import build, loader
from moenas.models.kernels.self_test import self_test
from moenas.models.switch_ffn import SwitchFFN
from moenas.workflows.doctor import doctor


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """As in a new process with an empty cache."""
    monkeypatch.setenv("MOENAS_CACHE", str(tmp_path))
    loader.forget()
    yield tmp_path
    loader.forget()


@pytest.fixture
def cached(fresh, kernel):
    """The session's library, copied to an empty cache of this test."""
    source = kernel.path
    (fresh / "kernels").mkdir()
    for file in (source, source.with_suffix(".json")):
        shutil.copy(file, fresh / "kernels" / file.name)
    return fresh / "kernels" / source.name


def fake_compiler(folder, body):
    """A script that answers ``--version`` and otherwise does ``body``."""
    path = folder / "fake-c++"
    path.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo fake 1.0; exit; fi\n{body}\n')
    path.chmod(0o755)
    return path


def test_the_kernel_is_found_again_without_a_compiler_run(cached, monkeypatch):
    monkeypatch.setattr(build, "_build", lambda *_: pytest.fail("built again"))
    assert loader.kernel() is not None
    assert loader.kernel_status().startswith("compiled (")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo 'x.cpp:1: error: no such thing' >&2; exit 1", "no such thing"),
        ("exit 0", "status 0"),
        (
            'for last; do :; done; echo junk > "$(echo "$*" | sed "s/.*-o //; s/ .*//")"',
            "own test: ",
        ),
    ],
    ids=["fails", "makes nothing", "makes junk"],
)
def test_a_broken_compiler_means_torch_and_one_line(fresh, monkeypatch, caplog, body, message):
    monkeypatch.setenv("CXX", str(fake_compiler(fresh, body)))
    ffn, x = SwitchFFN(8, 16, 3), torch.randn(5, 8)
    expected = ffn(x.requires_grad_())
    with caplog.at_level(logging.WARNING, "moenas"), torch.no_grad():
        torch.testing.assert_close(ffn(x), expected)
        ffn(x)
    (record,) = caplog.records
    assert message in record.getMessage()
    assert "\n" not in record.getMessage()
    assert "torch path" in doctor().switch_ffn
    assert not list((fresh / "kernels").glob("*.so"))


@pytest.mark.slow
def test_a_build_for_any_cpu_says_that_it_is_slower(fresh, monkeypatch, kernel):
    compiler = build.find_compiler().command[0]
    body = (
        f'case "$*" in *native*) echo "error: no such CPU" >&2; exit 1;; esac; exec {compiler} "$@"'
    )
    monkeypatch.setenv("CXX", str(fake_compiler(fresh, body)))
    for _ in range(2):  # built, and found again
        loader.forget()
        assert "not for this CPU in particular (error: no such CPU)" in loader.kernel_status()


def test_without_a_compiler_torch_serves(fresh, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(fresh))
    assert loader.kernel() is None
    assert "install g++ or clang" in loader.kernel_status()
    assert SwitchFFN(8, 16, 3)(torch.randn(4, 8)).shape == (4, 8)


def test_a_built_library_serves_without_a_compiler(cached, monkeypatch):
    monkeypatch.setenv("PATH", str(cached.parent))
    assert loader.kernel() is not None


def test_a_library_of_another_user_is_not_loaded(cached, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    monkeypatch.setattr(build, "OWNERS", frozenset())
    assert loader.kernel() is None
    assert "belongs to another user; set MOENAS_CACHE" in loader.kernel_status()


def test_a_folder_of_another_user_is_not_built_in(fresh, monkeypatch):
    (fresh / "kernels").mkdir()
    monkeypatch.setattr(build, "_build", lambda *_: pytest.fail("built"))
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    monkeypatch.setattr(build, "OWNERS", frozenset())
    with pytest.raises(build.BuildError, match="belongs to another user"):
        build.library()


@pytest.mark.slow
def test_the_self_test_runs_no_code_of_the_current_folder(kernel, monkeypatch, tmp_path):
    (tmp_path / "random.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", tmp_path, *sys.path])  # some put a Path there
    assert build._self_test(kernel.path).returncode == 0


def test_a_user_without_a_home_takes_torch(fresh, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MOENAS_CACHE")
    monkeypatch.setattr(Path, "home", homeless)
    assert loader.kernel() is None
    assert "home directory" in loader.kernel_status()


@pytest.mark.slow
def test_cxx_may_hold_several_words(fresh, monkeypatch, kernel):
    log = fresh / "log"
    wrapper = fake_compiler(fresh, f'echo "$1" > {log}; exec "$@"')
    compiler = build.find_compiler().command[0]
    monkeypatch.setenv("CXX", f"'{wrapper}' {compiler} -O1")
    assert loader.kernel() is not None
    assert log.read_text().strip() == compiler
    monkeypatch.setenv("CXX", "c++ '")
    with pytest.raises(build.BuildError, match="no shell could read"):
        build.library()


def test_a_wrong_result_fails_the_self_test(kernel, monkeypatch):
    self_test(kernel)
    right = kernel.experts_backward
    for place in range(6):

        def wrong(*args, place=place):
            found = list(right(*args))
            found[place] = found[place] + 0.01
            return found

        monkeypatch.setattr(kernel, "experts_backward", wrong)
        with pytest.raises(AssertionError):
            self_test(kernel)


def test_a_slow_compiler_is_given_up_with_its_children(fresh, monkeypatch):
    monkeypatch.setattr(build, "TIMEOUT", 0.5)
    body = f"sleep 60 & echo $! > {fresh / 'child'}; wait"
    monkeypatch.setenv("CXX", str(fake_compiler(fresh, body)))
    with pytest.raises(build.BuildError, match="took more than"):
        build.library()
    child = int((fresh / "child").read_text())
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(timeout=10)


def test_the_kernel_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("MOENAS_KERNEL", "0")
    assert loader.kernel() is None
    assert doctor().switch_ffn == "torch path (MOENAS_KERNEL=0)"


@pytest.mark.parametrize("size", [0, 100, 5000, -1])
def test_a_truncated_library_is_built_again_and_not_loaded(cached, monkeypatch, size):
    data = cached.read_bytes()
    cached.write_bytes(data[:size])

    def rebuild(_compiler, path):
        path.write_bytes(data)

    monkeypatch.setattr(build, "_build", rebuild)
    assert loader.kernel() is not None
    assert cached.read_bytes() == data


def test_a_cache_that_cannot_be_written_means_torch(fresh, monkeypatch):
    (fresh / "kernels").write_text("a file where the folder should be")
    with pytest.raises(build.BuildError, match="cannot hold it"):
        build.library()


def test_another_cpu_source_or_compiler_has_another_library(monkeypatch):
    names = {build._fingerprint()}
    monkeypatch.setenv("CXX", "another-c++")
    names.add(build._fingerprint())
    monkeypatch.setattr(build, "_processor", lambda: "another")
    names.add(build._fingerprint())
    monkeypatch.setattr(build, "FLAGS", ("-O0",))
    names.add(build._fingerprint())
    assert len(names) == 4


@pytest.mark.slow
def test_two_processes_build_at_once(fresh, kernel):
    """Both get the library; one builds, the other waits for it."""
    code = (
        "from moenas.models.kernels import build; import time; made = build._build\n"
        "def slow(*a): open(a[1].with_suffix('.log'), 'a').write('built\\n'); made(*a)\n"
        "build._build = slow; build.FLAGS = ('-O0', *build.FLAGS[2:], '-std=c++17')\n"
        "print(build.library()[0])"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    paths = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    (path,) = map(Path, paths)
    assert build._version_of_whole(path)
    assert path.with_suffix(".log").read_text() == "built\n"
    assert not list(path.parent.glob(".build-*"))


def test_the_sources_are_part_of_the_package():
    assert all((build.FOLDER / name).is_file() for name in build.SOURCES)
    found = {p.name for p in build.FOLDER.iterdir() if p.suffix in (".h", ".cpp")}
    assert found == set(build.SOURCES)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork() is not there")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_computes_with_several_threads(kernel):
    code = (
        "import os, torch; torch.set_num_threads(2)\n"
        "from moenas.models.switch_ffn import SwitchFFN\n"
        "ffn, x = SwitchFFN(64, 128, 4).eval(), torch.randn(3000, 64)\n"
        "torch.set_grad_enabled(False); y = ffn(x).numpy().tobytes()\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(0 if ffn(x).numpy().tobytes() == y else 1)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=60, check=False)
    assert result.returncode == 0
