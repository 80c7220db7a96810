"""The study's file: checked when it is opened, and what its libraries say of it told plainly."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import optuna
import sqlalchemy.exc
from sqlalchemy.engine import URL, make_url

from moenas.atomic import explain_os_error
from moenas.errors import RunFolderError
from moenas.masking import masked
from moenas.runs import RunFolder


def check_file(run: RunFolder) -> None:
    """Read the whole file once: a page that was lost shows when a trial in it is asked for.

    Raises:
        sqlite3.DatabaseError: It is damaged. One that is not there yet is not.
    """
    if not run.study.exists():
        return
    address = f"{run.study.resolve().as_uri()}?mode=rw"  # to take back what a kill left half done
    with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
        (first,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if first != "ok":
        raise sqlite3.DatabaseError(first)


STORAGE = (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error)
VALUES = (ArithmeticError, LookupError, TypeError, ValueError)
"""What a value that was changed in the file becomes when it is read."""


@contextlib.contextmanager
def study_errors(
    run: RunFolder, wanted: str, kinds: tuple[type[Exception], ...] = STORAGE
) -> Iterator[None]:
    """Tell in one message what goes wrong inside with the study's file.

    Args:
        run: The search's folder.
        wanted: What was to be done with the study, e.g. ``"opened"``.
        kinds: Errors that are the file's here.

    Raises:
        RunFolderError: The study cannot be read or written.
    """
    try:
        yield
    except kinds as error:
        why = masked(str(error.__cause__ or error)).partition("\n")[0]
        if "database or disk is full" in why:
            raise explain_os_error(OSError(errno.ENOSPC, why), run.study) from error
        raise RunFolderError(
            f"The study '{run.study}' cannot be {wanted}: {why}. Put a backup in its place, or "
            "delete it and run the same command: the search begins anew, and what it asks for "
            "again is not trained again."
        ) from error


def sqlite_url(path: Path) -> str:
    """Optuna storage URL of a database file.

    Raises:
        RunFolderError: SQLAlchemy or Optuna would take it for another file.
    """
    name = str(path.resolve())
    url = URL.create("sqlite", database=name).render_as_string()
    if make_url(url).database != name or set(url) & set("{}"):  # versions before 2.1 quote nothing
        raise RunFolderError(
            f"'{path}' cannot be a database of SQLite's with this version of SQLAlchemy: a name of "
            "its path has a '?', '{' or '}'. Choose another folder with --run."
        )
    return url
