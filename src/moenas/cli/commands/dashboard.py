"""``moenas dashboard``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import tyro

from moenas.cli.arguments import Json
from moenas.cli.output import show
from moenas.workflows import dashboard


def dashboard_command(
    run: tyro.conf.Positional[Path],
    host: str = "127.0.0.1",
    port: int = 8080,
    json: Json = False,
) -> None:
    """Show a search in the browser while it goes on, with optuna-dashboard; it only reads.

    Args:
        run: Run folder of a search.
        host: Address to listen on; by default only this machine can look.
        port: Port to listen on; 0 takes a free one.
        json: JSON, once it listens.
    """
    with dashboard.open_dashboard(run, host, port) as server:
        show({"url": server.url}, json, f"Dashboard: {server.url}", "Ctrl-C ends it.")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
