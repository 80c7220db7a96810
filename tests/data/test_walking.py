from __future__ import annotations

from pathlib import Path

from moenas.data.sources.tables import image_paths
from moenas.data.walking import files_below


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    for name in ("far/2.jpg", "far/deep/3.jpg", "set/b/1.jpg", "set/0.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "set" / "a").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "deep" / "up").symlink_to(tmp_path / "set")
    found = ["0.jpg", "a/2.jpg", "a/deep/3.jpg", "b/1.jpg"]
    assert list(files_below(tmp_path / "set")) == found
    assert sorted(image_paths(tmp_path / "set").values()) == found
    assert image_paths(tmp_path, ("far", "set"))["3.jpg"] == "far/deep/3.jpg"
