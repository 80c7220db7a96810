from __future__ import annotations

import pytest

from moenas.errors import ConfigError, did_you_mean
from moenas.registry import Registry


@pytest.fixture
def colours() -> Registry[int]:
    registry: Registry[int] = Registry("colour")
    registry.add("red", 1)
    registry.add("green", 2)
    return registry


def test_it_is_a_mapping(colours: Registry[int]) -> None:
    assert dict(colours) == {"red": 1, "green": 2}
    assert "red" in colours
    assert "blue" not in colours
    assert len(colours) == 2


def test_an_unknown_name_suggests_the_closest(colours: Registry[int]) -> None:
    with pytest.raises(ConfigError, match=r"no colour named 'gren'\. Did you mean 'green'\?"):
        colours["gren"]


def test_a_name_like_none_lists_all(colours: Registry[int]) -> None:
    with pytest.raises(ConfigError, match=r"Known: green, red\."):
        colours["xyz"]


def test_a_name_is_taken_once(colours: Registry[int]) -> None:
    with pytest.raises(ConfigError, match="already a colour named 'red'"):
        colours.add("red", 3)
    assert colours["red"] == 1


def test_the_decorator_returns_what_it_registers(colours: Registry[int]) -> None:
    assert colours.register("blue")(7) == 7
    assert colours["blue"] == 7


def test_suggestions_need_some_likeness() -> None:
    assert did_you_mean("searhc", ["search", "prune"]) == "Did you mean 'search'?"
    assert did_you_mean("q", ["search", "prune"]) == "Known: prune, search."
