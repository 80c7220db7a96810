"""Configurations are frozen dataclasses; this file turns them to JSON and back, strictly."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from moenas.errors import ConfigError, did_you_mean

C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a JSON-ready dict of a dataclass value (tuples become lists, paths strings)."""
    adapter = TypeAdapter(type(config))
    result: dict[str, Any] = adapter.dump_python(config, mode="json")
    return result


def from_dict(cls: type[C], values: dict[str, Any]) -> C:
    """Build a dataclass value from a dict; unknown keys and wrong types are named.

    Raises:
        ConfigError: The dict does not describe a ``cls``.
    """
    known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(f"{cls.__name__} has no setting '{key}'. {did_you_mean(key, known)}")
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or cls.__name__
        raise ConfigError(
            f"{cls.__name__}: '{where}' = {first['input']!r}: {first['msg']}."
        ) from error


def fingerprint(config: Any) -> str:
    """Return 12 hex digits that change whenever a setting does."""
    text = json.dumps(to_dict(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
