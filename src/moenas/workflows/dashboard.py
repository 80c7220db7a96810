"""``moenas dashboard``: a run's study in the browser, also while the search goes on.

optuna-dashboard can delete studies, end trials and edit their attributes. Here it only reads: other
requests are refused, and what would still write finds a study that is open for reading alone.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import re
import socket
from collections.abc import Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from moenas.console import logger
from moenas.errors import ConfigError, MissingDependencyError
from moenas.nas.reading import ReadOnlyStorage
from moenas.nas.study import open_recorded_study
from moenas.runs import RunFolder

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d*)?")
"""Of a request: a name or address, and a port."""

STRANGER = "This dashboard answers as localhost, 127.0.0.1 and [::1] only."
REFUSAL = "This dashboard only reads: nothing in it can change the search."


def open_dashboard(run: Path | str, host: str = "127.0.0.1", port: int = 8080) -> DashboardServer:
    """Open a run's dashboard; ``serve_forever`` of what is returned answers browsers.

    Args:
        run: The run folder of a search.
        host: Address to listen on; others than this machine's own get a warning.
        port: 0 takes a free one.

    Raises:
        RunFolderError: It is no run folder, or has no study yet.
        ConfigError: It cannot listen there.
        MissingDependencyError: The extra ``dashboard`` is not installed.
    """
    app = dashboard_app(RunFolder.open(run), own=_is_loopback(host))
    kind = _SixServer if ":" in host else DashboardServer
    try:
        server = make_server(host, port, app, server_class=kind, handler_class=_QuietHandler)
    except OverflowError:
        raise ConfigError(f"port must be within 0–65535, not {port}.") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Port {port} is in use. Choose another with --port; 0 takes a free one."
            ) from None
        raise ConfigError(
            f"The dashboard cannot listen on '{host}', port {port}: {error.strerror or error}."
        ) from error
    if not _is_loopback(host):
        logger.warning(
            "Whoever reaches '%s' can see this search: the dashboard has no password. Without "
            "--host only this machine can.",
            host,
        )
    return server


def dashboard_app(run: RunFolder, *, own: bool = True) -> WSGIApplication:
    """Return the WSGI application that shows a run's study and changes nothing.

    Args:
        run: The run folder of a search.
        own: Answer only requests to a name of this machine's own. A page on the web can have its
            name lead to 127.0.0.1 and so read what a browser gets from there; the name tells.

    Raises:
        RunFolderError: The run has no study.
        MissingDependencyError: The extra ``dashboard`` is not installed.
    """
    try:
        import optuna_dashboard
    except ImportError:
        raise MissingDependencyError("optuna-dashboard", "dashboard", "The dashboard") from None
    open_recorded_study(run)  # says what is wrong with it
    show: WSGIApplication = optuna_dashboard.wsgi(ReadOnlyStorage(run))

    def reader(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        reason = REFUSAL
        if own and not _names_this_machine(environ.get("HTTP_HOST", "")):
            reason = STRANGER
        elif environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return show(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [json.dumps({"reason": reason}).encode()]

    return reader


class DashboardServer(ThreadingMixIn, WSGIServer):
    """Answers each request in a thread of its own, none of which keeps the process alive."""

    daemon_threads = True

    @property
    def url(self) -> str:
        """The address of the study's page."""
        host, port = self.server_address[:2]
        name = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{name}:{port}/dashboard/studies/1"


class _SixServer(DashboardServer):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests are no news."""


def _names_this_machine(host: str) -> bool:
    """Whether the Host header of a request says this machine's own name or address."""
    match = HOST.fullmatch(host)
    return match is not None and _is_loopback(match[1].strip("[]").lower())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
