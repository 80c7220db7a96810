"""A real PostgreSQL server for tests, on a free port of this machine."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a server with a new, empty database; yield its URL, whose password is needed."""
    pytest.importorskip("psycopg", reason="needs the extra 'postgres'")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(found[-1]) if found else None)
    if initdb is None:
        pytest.skip("needs a PostgreSQL server (initdb)")
    programs = Path(initdb).resolve().parent
    user: dict[str, Any] = {}
    if os.name == "posix" and os.getuid() == 0:  # which a server refuses to run as
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    home = Path(tempfile.mkdtemp(prefix="pg", dir=memory))
    password = f"p@ss/{secrets.token_hex(8)}"
    (home / "password").write_text(password)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if user:
        for path in (home, home / "password"):
            shutil.chown(path, user["user"], user["group"])

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, "-D", str(home / "data"), *arguments],
            check=True,
            capture_output=True,
            cwd=home,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(home)},
            timeout=60,
            **user,
        )

    secret = f"--pwfile={home / 'password'}"
    run("initdb", "-U", "moenas", "--auth=scram-sha-256", secret, "--no-sync", "-E", "UTF8")
    options = f"-h 127.0.0.1 -p {port} -k {home} -F"
    run("pg_ctl", "-w", "-l", str(home / "log"), "-o", options, "start")
    try:
        yield f"postgresql://moenas:{password.replace('@', '%40').replace('/', '%2F')}" + (
            f"@127.0.0.1:{port}/postgres"
        )
    finally:
        run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(home, ignore_errors=True)
