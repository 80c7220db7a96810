"""Where a study is kept that several processes work on: PostgreSQL, or a journal file.

SQLite in the run folder, the default, is for one process: its locks fail on network file systems.
"""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path

import optuna
import sqlalchemy.exc
from optuna.storages import BaseStorage, RDBStorage

from moenas.atomic import replaced_whole
from moenas.config import from_dict, to_dict
from moenas.errors import ConfigError, MissingDependencyError, RunFolderError, SearchError
from moenas.masking import masked_about, masked_address
from moenas.nas.journal import open_journal
from moenas.nas.study_file import sqlite_url
from moenas.runs import RunFolder
from moenas.serialisation import read_json, write_json

STUDY_NAME = "moenas"
"""Each run folder has one study; the folder can be renamed. In a shared storage, which has many, it
is followed by random digits, which the run folder remembers."""

SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
JOURNAL = ".log"


@dataclasses.dataclass(frozen=True)
class SharedStorage:
    """A storage that several processes share; its text never shows a password.

    Attributes:
        place: A PostgreSQL URL, or the path of a journal file.
    """

    place: str = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        scheme, is_url, _ = self.place.partition("://")
        if not (scheme in SCHEMES if is_url else self.place.endswith(JOURNAL)):
            raise ConfigError(
                f"A study cannot be kept in '{self}': storage is a PostgreSQL database, as "
                "postgresql://USER@HOST/NAME, or a journal file whose name ends in '.log'."
            )

    def __str__(self) -> str:
        return masked_address(self.place)

    def open(self) -> BaseStorage:
        """Connect to it; what it needs is made when it is new.

        Raises:
            ConfigError: It is a URL that cannot be read.
            MissingDependencyError: PostgreSQL's driver is not installed.
            SearchError: There is none, or it lets nobody in.
        """
        _, is_url, rest = self.place.partition("://")
        with self.explained():
            if not is_url:
                try:
                    return open_journal(Path(self.place))
                except (OSError, ValueError, KeyError) as error:  # no folder, or no journal
                    raise SearchError(
                        f"The journal '{self.place}' cannot be used: {error}."
                    ) from error
            try:
                import psycopg  # noqa: F401 - SQLAlchemy would say it less clearly
            except ImportError:
                raise MissingDependencyError("psycopg", "postgres", "PostgreSQL") from None
            options = {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10}}
            try:
                storage = RDBStorage(f"postgresql+psycopg://{rest}", engine_kwargs=options)
            except ValueError:  # a port that is no number: its text would be a part of the password
                raise ConfigError(
                    f"'{self}' cannot be read as postgresql://USER@HOST:PORT/NAME. In the user's "
                    "name and the password write %40 for @, %3A for :, %2F for / and %25 for %."
                ) from None
            weakref.finalize(storage, storage.engine.dispose)  # says goodbye to the server
            return storage

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the storage's errors into ones that say where and what to do, without a password.

        Raises:
            SearchError: Something was wrong with the storage.
        """
        try:
            yield
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            cause = getattr(error, "orig", None) or error.__cause__ or error
            told = masked_about(self.place, str(cause))
            lines = told.strip().splitlines() or [type(cause).__name__]
        else:
            return
        raise SearchError(
            f"The study's storage '{self}' does not work: {lines[0]}. What was finished is kept; "
            "run the same command again when it does."
        ) from None  # the cause may hold the password


@dataclasses.dataclass(frozen=True)
class Whereabouts:
    """``storage.json``: where a run's study is that several processes share.

    Attributes:
        study: Its name there.
        storage: A PostgreSQL URL without password, or the path of a journal file.
    """

    study: str
    storage: str


def whereabouts(run: RunFolder) -> Whereabouts:
    """Return where a run's study is; there must be a ``storage.json``.

    Raises:
        RunFolderError: It cannot be read, or does not say it.
    """
    found = read_json(run.storage)
    with contextlib.suppress(ConfigError):
        if isinstance(found, dict):
            return from_dict(Whereabouts, found)
    raise RunFolderError(
        f"'{run.storage}' does not say where the run's study is. Put a backup in its place, or "
        "delete it and run the same command with --storage: a new study begins, and what it asks "
        "for again is not trained again."
    )


def shared_study(run: RunFolder, shared: SharedStorage) -> tuple[BaseStorage, str]:
    """Return the storage and the name of a run's study; one begun in ``study.db`` moves there.

    Raises:
        RunFolderError: The run's study is not there, but was.
        SearchError: The storage does not work.
    """
    storage = shared.open()
    with shared.explained():
        if run.storage.exists():
            known = whereabouts(run)
            if known.study not in [s.study_name for s in storage.get_all_studies()]:
                raise RunFolderError(
                    f"The study of '{run.path}' is not in '{shared}'. It was begun in "
                    f"'{known.storage}': give that as the storage."
                )
            return storage, known.study
        name = f"{STUDY_NAME}-{uuid.uuid4().hex[:16]}"
        if run.study.exists():
            optuna.copy_study(
                from_study_name=STUDY_NAME,
                from_storage=sqlite_url(run.study),
                to_storage=storage,
                to_study_name=name,
            )
        return storage, name


def announce(run: RunFolder, shared: SharedStorage, study: optuna.Study) -> None:
    """Write down where the run's study is: other processes may join it from now on."""
    if not run.storage.exists():
        write_json(run.storage, to_dict(Whereabouts(study.study_name, str(shared))))


def keep_copy(run: RunFolder, study: optuna.Study) -> None:
    """Copy a shared study into the run folder, which is all that reports and ``verify`` read."""
    with replaced_whole(run.study) as path:
        copy = RDBStorage(sqlite_url(path))
        optuna.copy_study(
            from_study_name=study.study_name,
            from_storage=study._storage,
            to_storage=copy,
            to_study_name=STUDY_NAME,
        )
        copy.engine.dispose()
