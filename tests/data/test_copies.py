from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moenas.data.copies import first_copies

# Long tails are alike: only hashes tell such files apart.
CONTENTS = [b"", b"a", b"b", b"a" + bytes(5000), b"b" + bytes(5000), bytes(5000) + b"a"]


@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(st.sampled_from(CONTENTS), max_size=12))
def test_files_are_named_by_the_first_with_their_bytes(
    tmp_path: Path, contents: list[bytes]
) -> None:
    names = [f"{number:02d}" for number in range(len(contents))]
    for name, data in zip(names, contents, strict=True):
        (tmp_path / name).write_bytes(data)
    first = [names[contents.index(data)] for data in contents]
    assert first_copies(tmp_path, reversed(names)) == dict(zip(names, first, strict=True))


def test_files_that_are_not_there_are_copies_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"x")
    assert first_copies(tmp_path, ["a", "b", "c"]) == {"a": "a", "b": "b", "c": "c"}
