"""MLflow: a run on the server that ``MLFLOW_TRACKING_URI`` names."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import os
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moenas.errors import ConfigError, MissingDependencyError, MoENASError
from moenas.masking import masked, masked_about, masked_address
from moenas.runs import RunFolder
from moenas.tracking.tracker import Point

# A server that is away is tried again by us; MLflow's own patience would be minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

try:
    from mlflow.entities import Metric, Param
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
except ImportError as error:
    raise MissingDependencyError("mlflow-skinny", "mlflow", "MLflow") from error

ADDRESS = "MLFLOW_TRACKING_URI"
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"

TAG = "moenas.token"
"""Tag that finds a run again whose id was not noted."""

MOST_METRICS, MOST_PARAMS, LONGEST = 1000, 100, 500
"""What a server takes at once, and how long a setting may be."""

SCHEMES = ("", "file", "http", "https", "databricks", "postgresql", "mysql", "mssql", "sqlite")
"""What addresses begin with; MLflow's plug-ins know others. None: a folder, or ``databricks``."""

HOST = re.compile(r"[^/\\]+:\d+(?:/|$)")
"""A host and a port, which without ``http://`` would be taken for a folder."""

DATABASE_LOG = logging.getLogger("mlflow.store.db.utils")

OUTCOMES = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}

ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE")
"""What servers say of a run that was deleted, for good or for a while."""


class MlflowServer:
    """Records a run through MLflow's client, not its global active run: that is the user's.

    Args:
        folder: The run.
        settings: Its settings, the parameters.

    Raises:
        ConfigError: The environment names no server, or what can be none.
    """

    def __init__(self, folder: RunFolder, settings: Mapping[str, Any]) -> None:
        address = os.environ.get(ADDRESS)
        if not address:
            raise ConfigError(f"Say where MLflow is: {ADDRESS}=http://host:5000, for instance.")
        self.where = masked_address(address)
        if not _is_possible(address):
            raise ConfigError(
                f"{ADDRESS}={self.where} is no address of MLflow: it is http://host:5000, for "
                f"instance, or begins with another of {', '.join(filter(None, SCHEMES))}."
            )
        self._address = address
        self._name = folder.name
        self._kind = folder.read_config()["kind"]
        self._settings = settings
        self._run = ""

    def start(self, known: str | None, token: str) -> str:
        """Set the run to running; a new one gets the settings."""
        self._client = self._connected()
        if known is not None and self._goes_on(known):
            self._run = known
            return known
        self._run = self._begun(token) or self._begin(token)
        return self._run

    def _connected(self) -> MlflowClient:
        """The client; of a database, it connects at once and tries and warns for minutes."""

        def hide(record: logging.LogRecord) -> bool:
            record.msg, record.args = masked_about(self._address, record.getMessage()), ()
            return True

        DATABASE_LOG.addFilter(hide)
        try:
            return MlflowClient(self._address)
        except Exception as error:  # a database's own, of any kind
            raise MoENASError(masked_about(self._address, str(error))) from None
        finally:
            DATABASE_LOG.removeFilter(hide)

    def _begun(self, token: str) -> str | None:
        """The run that a process began and had no time to note."""
        wanted = f"tags.`{TAG}` = '{token}'"
        found = self._client.search_runs([self._experiment()], wanted, max_results=1)
        if not found:
            return None
        self._run = str(found[0].info.run_id)
        if not found[0].data.params:
            self._tell_settings()
        return self._run if self._goes_on(self._run) else None

    def _begin(self, token: str) -> str:
        tags = {"moenas.kind": self._kind, TAG: token}
        run = self._client.create_run(self._experiment(), run_name=self._name, tags=tags)
        self._run = str(run.info.run_id)
        self._tell_settings()
        return self._run

    def _tell_settings(self) -> None:
        texts = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in self._settings.items()
        }
        params = [Param(name, masked(text)[:LONGEST]) for name, text in texts.items()]
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._run, params=params[first : first + MOST_PARAMS])

    def add(self, points: Sequence[Point]) -> None:
        """Send points; a server keeps one of metrics that are equal in name, time and step."""
        metrics = [
            Metric(_allowed(f"{p.series}/{name}"), value, round(1000 * p.time), p.step)
            for p in points
            for name, value in p.values.items()
        ]
        for first in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._run, metrics=metrics[first : first + MOST_METRICS])

    def attach(self, file: Path) -> None:
        """Send the file."""
        self._client.log_artifact(self._run, str(file))

    def end(self, outcome: str) -> None:
        """Tell how the run ended."""
        self._client.set_terminated(self._run, OUTCOMES[outcome])

    def _goes_on(self, known: str) -> bool:
        try:
            if self._client.get_run(known).info.lifecycle_stage == "deleted":
                return False
            self._client.update_run(known, status="RUNNING")
        except MlflowException as error:
            if error.error_code in ABSENT:
                return False
            raise
        return True

    def _experiment(self) -> str:
        name = os.environ.get(EXPERIMENT, "moenas")
        found = self._client.get_experiment_by_name(name)
        if found is None:
            with contextlib.suppress(MlflowException):  # another run makes it at this moment
                return str(self._client.create_experiment(name))
            found = self._client.get_experiment_by_name(name)
        if found is None:
            raise ConfigError(f"MLflow's experiment '{name}' cannot be made: set {EXPERIMENT}.")
        return str(found.experiment_id)


def _is_possible(address: str) -> bool:
    """Whether MLflow has a client for an address, whoever answers there."""
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError:  # half an IPv6 address
        return False
    scheme = "" if len(parts.scheme) == 1 else parts.scheme.partition("+")[0]  # a drive of Windows
    if scheme == "":
        return not HOST.match(address)
    if scheme in ("http", "https"):
        return bool(parts.hostname)
    more = importlib.metadata.entry_points(group="mlflow.tracking_store")
    return scheme in (*SCHEMES, *more.names)


def _allowed(name: str) -> str:
    """A metric's name in the letters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name)
