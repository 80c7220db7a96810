"""The run folder: the only file that knows file names. Every write is atomic.

A run folder is all that a command leaves and all that ``report`` and ``verify`` read::

    runs/NAME/
        config.json  summary.json  study.db  manifest.parquet  images/  latency.json
        storage.json  leases/{NNNN,STAGE-NAME}
        log.jsonl  log-older.jsonl  tracking.json  tensorboard/  wandb/
        parents/NAME-sS/  supernets/NAME/  trials/NNNN/  trials/NNNN/rung-K/
        finalists/ARCHITECTURE-sS/  pruned/  pruned/{curve,steps}.json  pruned/tuned-N/
        models/NAME-SCHEME-sS/
        audit.{csv,parquet,tex}  answers.csv  degradation.csv  intersections.csv  sensitivity.csv
        comparison.json  figures/  report.html
        routes.parquet  routes.json  routes-pictures.json  routes.html

Each model has a `ModelFolder`: ``checkpoint.safetensors``, ``predictions.parquet``,
``scores.json``, ``history.jsonl`` and, while it trains, ``state.safetensors``; ``exports/`` has
what was made of it for devices, each file with its card beside it. Models to pass on have their
model card, ``README.md``. A comparison of runs is beside them: ``comparison.html``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from moenas.atomic import explain_os_error, explained, is_there, remove_leftovers
from moenas.errors import CheckpointError, RunFolderError, RunFolderInUseError
from moenas.locks import hold, system_lock
from moenas.serialisation import fingerprint_of, read_json, write_json

FORMAT = 1
"""Version of the run folder's layout; a folder of another version is refused."""


GLANCE = 0.2
"""Seconds that a folder's lock is waited for; see `RunFolder.is_locked`."""


def cache_home() -> Path:
    """Where data sets and decoded images are kept: ``MOENAS_CACHE``, or ``~/.cache/moenas``."""
    return Path(os.environ.get("MOENAS_CACHE") or Path.home() / ".cache" / "moenas")


def _names(folder: Path) -> list[str]:
    with explained(folder):
        return [path.name for path in folder.iterdir()] if folder.exists() else []


class ModelFolder:
    """The files of one trained model."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint.safetensors"
        self.state = path / "state.safetensors"
        self.history = path / "history.jsonl"
        self.predictions = path / "predictions.parquet"
        self.scores = path / "scores.json"
        self.exports = path / "exports"
        self.card = path / "README.md"

    def degradation(self, corruption: str) -> Path:
        """How its scores fall under a corruption."""
        return self.path / f"degradation-{corruption}.csv"

    def severity(self, corruption: str, severity: int) -> Path:
        """What it says at one severity, until the table of all is made."""
        return self.path / f"degradation-{corruption}-{severity}.parquet"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process, once another one that holds it has ended.

        The workers of a process that was killed live on for a moment; whoever takes up their work
        waits for that.

        Raises:
            RunFolderError: The folder cannot be written.
        """
        lock = system_lock(self.path / ".lock")
        with explained(self.path):
            hold(lock)
        try:
            yield
        finally:
            lock.release()

    @property
    def finished(self) -> bool:
        """Whether the model was trained and scored (the scores are written last)."""
        return self.scores.exists()

    def clear(self) -> None:
        """Remove the model and all that was made of it; rungs below the folder are others'.

        The scores go first: what is left when this is interrupted is never taken for finished.

        Raises:
            RunFolderError: A file cannot be removed.
        """
        own = (self.scores, self.predictions, self.checkpoint, self.history, self.card)
        with explained(self.path):
            made = [*self.path.glob(f"{self.state.name}*"), *self.path.glob("degradation-*")]
            for file in (*own, *made):
                file.unlink(missing_ok=True)
            if self.exports.exists():
                shutil.rmtree(self.exports)

    def __repr__(self) -> str:
        return f"ModelFolder({str(self.path)!r})"


NAMED = 6
"""Models of a folder that a message names."""


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint that a path means: itself, its model folder's or its run's only one.

    The only one of a run is what it trained or pruned; a search has many.

    Raises:
        CheckpointError: The folder has several models, which the message names, or none.
    """
    if not path.is_dir():
        return path
    run = RunFolder(path)
    for model in (ModelFolder(path), run.model()):
        if is_there(model.checkpoint):
            return model.checkpoint
    found = sorted(each.parent for each in path.rglob(run.model().checkpoint.name))
    pruned = run.pruned().path
    if found and all(pruned in (each, *each.parents) for each in found) and pruned in found:
        return run.pruned().checkpoint
    if not found:
        raise CheckpointError(
            f"There is no model in the folder '{path}': it has no '{run.model().checkpoint.name}'."
        )
    order = ("pruned", "finalists")  # what is passed on comes first
    found.sort(key=lambda each: each.relative_to(path).parts[0] not in order)
    names = ", ".join(f"'{each}'" for each in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    raise CheckpointError(f"'{path}' has several models; name one of them: {names}{more}.")


class RunFolder:
    """A run folder that exists and is ours; made by `create`, opened by `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.summary = path / "summary.json"
        self.study = path / "study.db"
        self.storage = path / "storage.json"
        self.log = path / "log.jsonl"
        self.older_log = path / "log-older.jsonl"
        self.tracking = path / "tracking.json"
        self.tensorboard = path / "tensorboard"
        self.wandb = path / "wandb"
        self.manifest = path / "manifest.parquet"
        self.images = path / "images"
        self.latency = path / "latency.json"
        self.trials = path / "trials.json"
        self.comparison = path / "comparison.json"
        self.pruning = path / "pruned" / "curve.json"
        self.pruning_steps = path / "pruned" / "steps.json"
        self.audit = path / "audit.csv"
        self.audit_parquet = path / "audit.parquet"
        self.audit_latex = path / "audit.tex"
        self.answers = path / "answers.csv"
        self.degradation = path / "degradation.csv"
        self.intersections = path / "intersections.csv"
        self.sensitivity = path / "sensitivity.csv"
        self.report = path / "report.html"
        self.figures = path / "figures"
        self.routes = path / "routes.parquet"
        self.routes_summary = path / "routes.json"
        self.routes_pictures = path / "routes-pictures.json"
        self.routes_page = path / "routes.html"

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def compared(self) -> Path:
        """The page that compares this run with others, beside its folder."""
        return self.path.resolve().parent / "comparison.html"

    @property
    def fingerprint(self) -> str | None:
        """16 hex digits of the manifest: equal ones mean equal data; None where there is none."""
        return fingerprint_of(self.manifest) if is_there(self.manifest) else None

    def lease(self, name: str) -> Path:
        """A file that the process locks whose training of that name it is; see `FileLeases`."""
        return self.path / "leases" / name

    def parent(self, name: str, seed: int) -> ModelFolder:
        """A dense model trained from its own initialisation, e.g. ``("mobilevitv2_050", 0)``."""
        return ModelFolder(self.path / "parents" / f"{name}-s{seed}")

    def supernet(self, name: str) -> ModelFolder:
        """The supernet of a base model."""
        return ModelFolder(self.path / "supernets" / name)

    def supernet_base(self, name: str) -> ModelFolder:
        """The dense part of a supernet: what its other parts are held against."""
        return ModelFolder(self.path / "supernets" / f"{name}-dense")

    def trial(self, number: int) -> ModelFolder:
        """The model of one trial."""
        return ModelFolder(self.path / "trials" / f"{number:04d}")

    def rung(self, number: int, rung: int) -> ModelFolder:
        """A short training of a trial that has several lengths."""
        return ModelFolder(self.trial(number).path / f"rung-{rung}")

    def finalist(self, name: str, seed: int) -> ModelFolder:
        """One seed of a model that is reported, by its architecture's id."""
        return ModelFolder(self.path / "finalists" / f"{name}-s{seed}")

    def pruned(self) -> ModelFolder:
        """The pruned model."""
        return ModelFolder(self.path / "pruned")

    def pruned_tuned(self, step: int) -> ModelFolder:
        """The model of a pruning step that was trained for a while."""
        return ModelFolder(self.path / "pruned" / f"tuned-{step}")

    def forget_pruning(self) -> None:
        """Remove all that pruning left: another model is to be pruned, or in another way."""
        shutil.rmtree(self.path / "pruned", ignore_errors=True)

    def audited(self, model: str, scheme: str, seed: int) -> ModelFolder:
        """A model of an audit, trained under a scheme."""
        return ModelFolder(self.path / "models" / f"{model}-{scheme}-s{seed}")

    def judged(self, name: str) -> ModelFolder:
        """What another program said, in an audit of predictions."""
        return ModelFolder(self.path / "models" / name)

    def model(self) -> ModelFolder:
        """The one model of a run that trains a single one."""
        return ModelFolder(self.path / "model")

    @classmethod
    def create(cls, path: Path | str, kind: str, config: dict[str, Any]) -> RunFolder:
        """Make the folder, or continue it when it holds the same kind of run with equal settings.

        A run that was refused before it made anything (for its images, say) holds nobody to its
        settings.

        Args:
            path: Where.
            kind: The command whose run it is, e.g. ``"search"``.
            config: Its settings, JSON-ready.

        Raises:
            RunFolderError: It holds something else, other settings, or cannot be written.
        """
        run = cls(Path(path))
        if is_there(run.config):
            stored = cls.open(path).read_config()
            wanted = {"moenas_format": FORMAT, "kind": kind, "settings": config}
            if stored != wanted and run._is_unused():
                try:
                    with run.locked():
                        if run._is_unused():  # another process may have begun it meanwhile
                            write_json(run.config, wanted)
                except RunFolderInUseError:
                    if cls.open(path).read_config() != wanted:
                        raise
                return cls.create(path, kind, config)
            if stored["kind"] != kind:
                raise RunFolderError(
                    f"'{path}' holds a {stored['kind']} run, not a {kind} run. "
                    "Choose another folder with --run."
                )
            changed = sorted(
                key
                for key in stored["settings"].keys() | config.keys()
                if stored["settings"].get(key) != config.get(key)
            )
            if changed:
                raise RunFolderError(
                    f"'{path}' was made with other settings ({', '.join(changed)}). Repeat them to "
                    "continue it, or choose another folder with --run."
                )
            return run
        if run.path.exists() and not run.path.is_dir():
            raise RunFolderError(f"'{path}' is a file, not a folder.")
        if any(not name.startswith(".") for name in _names(run.path)):
            if is_there(run.config):  # another process made it an instant ago
                return cls.create(path, kind, config)
            raise RunFolderError(
                f"'{path}' is not empty and not a MoENAS run. Choose another folder with --run."
            )
        try:
            with run.locked():
                if not is_there(run.config):  # another process may have been first
                    wanted = {"moenas_format": FORMAT, "kind": kind, "settings": config}
                    write_json(run.config, wanted)
                    return run
        except RunFolderInUseError:  # it was, and works in it already
            if not is_there(run.config):
                raise
        return cls.create(path, kind, config)

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """Open an existing run folder.

        Raises:
            RunFolderError: There is none, or it is of another format.
        """
        run = cls(Path(path))
        if not is_there(run.config):
            raise RunFolderError(f"'{path}' is not a MoENAS run folder: it has no config.json.")
        stored = read_json(run.config)
        version = stored.get("moenas_format") if isinstance(stored, dict) else None
        if version != FORMAT:
            raise RunFolderError(
                f"'{path}' has run folder format {version}, this version of moenas reads {FORMAT}."
            )
        if not isinstance(stored.get("kind"), str) or not isinstance(stored.get("settings"), dict):
            raise RunFolderError(f"'{run.config}' is damaged: it lacks the kind or the settings.")
        return run

    def _is_unused(self) -> bool:
        told = (self.log, self.older_log, self.tracking, self.tensorboard, self.wandb)
        made = {name for name in _names(self.path) if not name.startswith(".")}
        return made <= {path.name for path in (self.config, self.images, *told)}

    def read_config(self) -> dict[str, Any]:
        """Return ``{"moenas_format", "kind", "settings"}``."""
        config: dict[str, Any] = read_json(self.config)
        return config

    def is_locked(self) -> bool:
        """Whether a process holds the folder now; to tell, the lock is taken for an instant."""
        path = self.path / ".lock"
        if not is_there(path):
            return False
        lock = system_lock(path)
        try:
            hold(lock, timeout=0)
        except filelock.Timeout:
            return True
        except (OSError, RunFolderError):  # it cannot be told, nor worked in
            return False
        lock.release()
        return False

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the lock goes when the process ends, however it ends.

        What a process that was killed in the folder left half-written is removed.

        Raises:
            RunFolderInUseError: Another process holds it; the message says which.
            RunFolderError: The folder cannot be written.
        """
        # Whoever looks whether it is held, holds it for an instant: that is waited for.
        lock = system_lock(self.path / ".lock")
        holder = self.path / ".lock-holder.json"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            hold(lock, timeout=GLANCE)
        except filelock.Timeout:
            raise RunFolderInUseError(
                f"Another process works in '{self.path}'{_who(holder)}. Wait for it, or choose "
                "another folder with --run."
            ) from None
        except OSError as error:
            raise explain_os_error(error, self.path) from error
        try:
            remove_leftovers(self.path)
            write_json(holder, {"pid": os.getpid(), "host": socket.gethostname()})
            yield
        finally:
            with contextlib.suppress(OSError):  # it only helps a message
                holder.unlink(missing_ok=True)
            lock.release()


def run_of(path: Path) -> RunFolder | None:
    """Return the run with a manifest that a model's file lies in; None where it lies in none."""
    for folder in path.resolve().parents[:4]:
        run = RunFolder(folder)
        if is_there(run.config) and is_there(run.manifest):
            return run
    return None


def _who(holder: Path) -> str:
    """Which process holds a folder, as far as it has said so yet."""
    try:
        stored = read_json(holder)
        return f": process {stored['pid']} on '{stored['host']}'"
    except (RunFolderError, KeyError, TypeError):
        return ""
