from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from moenas.config import fingerprint, from_dict, to_dict
from moenas.errors import ConfigError
from moenas.nas.settings import SearchConfig
from moenas.training.schemes import SCHEMES, Scheme


@dataclasses.dataclass(frozen=True)
class Inner:
    name: str = "a"


@dataclasses.dataclass(frozen=True)
class Outer:
    number: int
    parts: tuple[Inner, ...] = ()
    where: Path | None = None
    names: tuple[int, ...] = (1, 2)


def test_a_value_survives_json() -> None:
    value = Outer(3, (Inner("x"), Inner("y")), Path("/tmp/z"))
    again = from_dict(Outer, json.loads(json.dumps(to_dict(value))))
    assert again == value
    assert isinstance(again.parts, tuple)
    assert isinstance(again.where, Path)


@pytest.mark.parametrize("value", [SearchConfig(), SCHEMES["mobilevitv2"]])
def test_our_settings_survive_json(value: SearchConfig | Scheme) -> None:
    assert from_dict(type(value), json.loads(json.dumps(to_dict(value)))) == value


def test_an_unknown_setting_suggests_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r"Outer has no setting 'numbr'. Did you mean 'number'"):
        from_dict(Outer, {"numbr": 3})


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"number": "three"}, "number"),
        ({}, "number"),
        ({"number": 1, "parts": [{"name": 5}]}, r"parts\.0\.name"),
        ({"number": 1, "names": 7}, "names"),
    ],
)
def test_a_wrong_type_is_named(values: dict[str, object], name: str) -> None:
    with pytest.raises(ConfigError, match=f"Outer: '{name}'"):
        from_dict(Outer, values)


def test_own_checks_speak_for_themselves() -> None:
    with pytest.raises(ConfigError, match="seeds must be at least 2"):
        from_dict(SearchConfig, {"seeds": 1})


def test_the_fingerprint_changes_with_every_setting() -> None:
    base = Outer(3)
    others = [
        Outer(4),
        Outer(3, (Inner(),)),
        Outer(3, where=Path("x")),
        Outer(3, names=(2, 1)),
    ]
    prints = {fingerprint(value) for value in (base, *others)}
    assert len(prints) == 5
    assert fingerprint(Outer(3)) == fingerprint(base)
    assert len(fingerprint(base)) == 12
