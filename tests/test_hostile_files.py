"""Files that others made run no code, unpack to no more than is stated, and leave no folder."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import pickle
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from moenas import parsing
from moenas.data.cache import cached_images
from moenas.data.copies import first_copies
from moenas.data.images import MAX_PIXELS, image_size, read_image
from moenas.data.manifest import Manifest
from moenas.errors import MoENASError, RunFolderError
from moenas.models.pretrained import read_tensors
from moenas.models.storage import load_model, read_card
from moenas.nas.study import open_recorded_study
from moenas.predictions import Predictions
from moenas.report.results import read_results
from moenas.report.routes_table import read_routes
from moenas.report.tables import csv_text
from moenas.runs import RunFolder
from moenas.serialisation import read_json
from moenas.training.checkpoint import load_state
from moenas.workflows.predict import predict_files
from moenas.workflows.predictions_file import read_predictions

SOURCE = Path(parsing.__file__).parent


class Bomb:
    """A pickle that makes a folder when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


# No pickle


@pytest.fixture(params=["0", "2", "5", "torch"])
def bomb(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    mark = tmp_path / "executed"
    if request.param == "torch":
        file = io.BytesIO()
        torch.save({"weight": Bomb(mark)}, file)
        return file.getvalue()
    data = pickle.dumps(Bomb(mark), int(request.param))
    pickle.loads(data)  # negative control
    mark.rmdir()
    return data


def test_no_reader_runs_a_pickle(bomb: bytes, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "search", {})
    readers = {
        "model.safetensors": [load_model, read_card, read_tensors, _predict],
        "model.pth": [load_model, read_tensors, _predict],
        "model.onnx": [_predict],
        "model.pt2": [_predict, load_model],
        "manifest.parquet": [Manifest.load, Predictions.load],
        "manifest.csv": [Manifest.load],
        "image.png": [read_image],
        "value.json": [read_json],
    }
    for name, functions in readers.items():
        path = tmp_path / name
        path.write_bytes(bomb)
        for function in functions:
            with pytest.raises(MoENASError):
                function(path)
    state = tmp_path / "state.safetensors"
    state.write_bytes(bomb)
    assert load_state(state) is None
    files = {run.study: open_recorded_study, run.routes: read_routes, run.trials: read_results}
    for path, read in files.items():
        path.write_bytes(bomb)
        with pytest.raises(RunFolderError):
            read(run)
    assert not (tmp_path / "executed").exists()


def _predict(path: Path) -> None:
    predict_files(path, [path])


def test_a_cache_that_is_a_pickle_is_made_anew(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    frame = pd.DataFrame({"path": ["a.png"], "label": [1], "split": ["val"]})
    manifest = Manifest(frame, tmp_path)
    cached_images(manifest, 4, tmp_path / "cache", progress=False)
    (file,) = (tmp_path / "cache").glob("*.bin")
    whole = file.read_bytes()
    mark = tmp_path / "executed"
    facts = (json.dumps({"crc": 0, "errors": {"7": "no such row"}}).encode(), b"[" * 9000)
    for damaged in (pickle.dumps(Bomb(mark)), *(whole[: 4096 + 48] + end for end in facts)):
        file.write_bytes(damaged)
        store = cached_images(manifest, 4, tmp_path / "cache", progress=False)
        assert store.images[0, 0, 0].tolist() == [255, 0, 0]
    assert not mark.exists()


def test_a_pickle_in_a_tables_metadata_is_no_code(tmp_path: Path) -> None:
    """Arrow once read such a type with pickle (CVE-2023-47248)."""
    mark, path = tmp_path / "executed", tmp_path / "a.parquet"
    extension = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Bomb(mark)),
    }
    fields = [
        pa.field("path", pa.string(), metadata=extension),
        pa.field("label", pa.int64()),
        pa.field("split", pa.string()),
    ]
    rows = {"path": ["a.png"], "label": [1], "split": ["val"]}
    pq.write_table(pa.table(rows, pa.schema(fields, {b"PANDAS_ATTRS": b'["moenas_root"]'})), path)
    with pytest.raises(MoENASError):  # attributes that are no table
        Manifest.load(path)
    pq.write_table(pa.table(rows, pa.schema(fields)), path)
    assert Manifest.load(path).frame["path"].tolist() == ["a.png"]
    assert not mark.exists()


def test_the_package_never_asks_for_pickles() -> None:
    """Every ``torch.load`` is of weights only; nothing else that unpickles is called."""
    forbidden = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & forbidden, file
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                options = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert called != "torch.load" or options.get("weights_only") == "True", file
                assert called != "np.load" or options.get("allow_pickle") == "False", file
                assert called not in ("numpy.load", "pd.read_pickle", "yaml.load"), file


# Bounds


def test_tables_are_bounded_before_they_are_unpacked(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"path": pa.array(["a"] * 3_000_000)}), path, compression="zstd")
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(parsing, "MAX_CELLS", 2_000_000)
    monkeypatch.setattr(pd, "read_parquet", lambda *a, **b: pytest.fail("it was unpacked"))
    for read in (Manifest.load, Predictions.load):
        with pytest.raises(MoENASError, match="would unpack to 3000000 cells"):
            read(path)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("read", [Manifest.load, Predictions.load, read_predictions])
def test_a_folder_is_no_table(read: Any, suffix: str, tmp_path: Path) -> None:
    """Its parts would be read without any bound."""
    folder = tmp_path / f"a.{suffix}"
    folder.mkdir()
    table = {"path": ["a"], "image_id": ["a"], "label": [1], "split": ["val"], "prediction": [1]}
    pq.write_table(pa.table(table), folder / "part.parquet")
    with pytest.raises(MoENASError, match=rf"a\.{suffix}.*it is a folder, and a table is one file"):
        read(folder)


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"\xff", b"", b"{" + b" " * 2000]
)
def test_strange_json_is_damaged(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(RunFolderError, match="cannot be read"):
        read_json(tmp_path / "a.json")


def test_json_is_bounded(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(parsing, "MAX_JSON", 10)
    (tmp_path / "a.json").write_text("[" + " " * 9 + "]")
    with pytest.raises(RunFolderError, match="more than 10 bytes"):
        read_json(tmp_path / "a.json")


def png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = zlib.compress(bytes(height * (1 + (width + 7) // 8)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def gif(width: int, height: int) -> bytes:
    """Each of LZW's codes stands for a pixel more than the one before, until the table is full."""
    bits, count, left = 0, 0, width * height
    packed = bytearray()

    def put(code: int, wide: int) -> None:
        nonlocal bits, count
        bits, count = bits | code << count, count + wide
        while count >= 8:
            packed.append(bits & 255)
            bits, count = bits >> 8, count - 8

    while left:
        put(4, 3 if left == width * height else 12)  # forget the table
        code, run, wide = 0, 1, 3
        while left and run <= 4000:
            run = min(run, left)
            put(code if run == 1 else 4 + run, wide)
            left, run = left - run, run + 1
            wide = max(3, min(12, (4 + run).bit_length()))
            code = 4 + run
    put(5, wide)
    put(0, 7)
    blocks = (packed[start : start + 255] for start in range(0, len(packed), 255))
    size = struct.pack("<HH", width, height)
    head = b"GIF89a" + size + b"\x80\0\0\0\0\0\xff\xff\xff," + bytes(4) + size + b"\0\2"
    return head + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0;"


def bmp(width: int, height: int) -> bytes:
    """Run lengths: 255 pixels in two bytes."""
    whole, rest = divmod(width, 255)
    line = b"\xff\0" * whole + bytes([rest, 0]) + b"\0\0"
    body = line * height + b"\0\1"
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 2, 0)
    colours = b"\0\0\0\0\xff\xff\xff\0"
    return b"BM" + struct.pack("<IHHI", 62 + len(body), 0, 0, 62) + info + colours + body


def webp(width: int, height: int) -> bytes:
    """Without loss, of one colour: codes with one symbol each have no bits, so no pixel has."""
    fields = [(0x2F, 8), (width - 1, 14), (height - 1, 14), (0, 1 + 3), (0, 1), (0, 1), (0, 1)]
    for symbol in (0, 0, 0, 255, 0):  # green, red, blue, opaque, no distance
        fields += [(1, 1), (0, 1), (1, 1), (symbol, 8)]
    bits, count = 0, 0
    for value, wide in fields:
        bits, count = bits | value << count, count + wide
    data = bits.to_bytes(2 * (count // 16 + 1), "little")
    body = b"WEBPVP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("make", [png, gif, bmp, webp])
def test_small_files_of_huge_images_are_refused(make: Any, tmp_path: Path) -> None:
    """Whole files between our limit and twice that, where Pillow's own begins."""
    path = tmp_path / "image"
    path.write_bytes(make(40, 30))
    assert read_image(path).getcolors() == [(1200, (0, 0, 0))]  # they are what they seem
    assert image_size(path) == (40, 30)
    path.write_bytes(make(9001, 10000))
    assert path.stat().st_size < 1_000_000
    for read in (read_image, image_size):
        with pytest.raises(MoENASError, match=f"9001 x 10000 pixels, more than {MAX_PIXELS}"):
            read(path)
    path.write_bytes(make(16383, 16383))
    with pytest.raises(MoENASError, match=r"268402689 pixels.*exceeds limit"):
        read_image(path)


@pytest.fixture
def readers() -> Iterator[Callable[[Path], list[int]]]:
    """Make a pipe that ends for whoever opens it, so that no test hangs; count them."""
    opened: list[int] = []
    done = threading.Event()

    def write(path: Path) -> None:
        while not done.wait(0.01):
            with contextlib.suppress(OSError):  # nobody reads
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                opened.append(1)

    def make(path: Path) -> list[int]:
        os.mkfifo(path)
        thread = threading.Thread(target=write, args=[path])
        threads.append(thread)
        thread.start()
        return opened

    threads: list[threading.Thread] = []
    yield make
    done.set()
    for thread in threads:
        thread.join()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_pipe_among_images_is_skipped_and_not_waited_for(
    tmp_path: Path, readers: Callable[[Path], list[int]]
) -> None:
    names = ["a.png", "b.png", "pipe.png", "link.png", "folder.png"]
    for number, name in enumerate(names[:2]):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / name)
    waited = readers(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    table = {"path": names, "label": [1, 0, 1, 1, 1], "split": ["val"] * 5}
    manifest = Manifest(pd.DataFrame(table), tmp_path)
    store = cached_images(manifest, 4, tmp_path / "cache", progress=False)
    assert sorted(store.errors) == [2, 3, 4]
    assert all("cannot be read as an image: it is no file" in why for why in store.errors.values())
    with pytest.raises(MoENASError, match="it is no file"):
        image_size(tmp_path / "link.png")
    with pytest.raises(MoENASError, match=r"it is no file"):
        manifest.validate(need_splits=())
    assert first_copies(tmp_path, names) == {name: name for name in names}
    assert not waited


def test_tiff_is_not_read_at_all(tmp_path: Path) -> None:
    Image.new("L", (9, 9)).save(tmp_path / "a.png", "TIFF")
    with pytest.raises(MoENASError, match="cannot be read"):
        read_image(tmp_path / "a.png")


# Places


OUTSIDE = (
    "../a.png",
    "b/../../a.png",
    "/etc/passwd",
    "..\\a.png",
    "C:\\a.png",
    "\\\\host\\a",
    "a\0.png",
)


@pytest.mark.parametrize("path", OUTSIDE)
def test_paths_stay_below_the_manifests_folder(path: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"path": [path], "label": [1], "split": ["val"]})
    manifest = Manifest(frame, tmp_path)
    with pytest.raises(MoENASError, match="leaves the folder"):
        manifest.file(path)
    with pytest.raises(MoENASError, match="leaves the folder"):
        manifest.validate()
    with pytest.raises(MoENASError, match="leaves the folder"):
        cached_images(manifest, 4, tmp_path / "cache", progress=False)


def test_links_in_a_data_set_are_followed(tmp_path: Path) -> None:
    """On purpose: data sets lie on other disks. A link is made by whoever owns the folder."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "disk" / "a.png")
    (tmp_path / "data" / "a.png").symlink_to(tmp_path / "disk" / "a.png")
    frame = pd.DataFrame({"path": ["a.png"], "label": [1], "split": ["val"]})
    manifest = Manifest(frame, tmp_path / "data")
    assert len(cached_images(manifest, 4, tmp_path / "cache", progress=False)) == 1


def test_no_archive_is_unpacked() -> None:
    """What unpacks nothing cannot write outside a folder."""
    for file in SOURCE.rglob("*.py"):
        text = file.read_text()
        for word in ("tarfile", "unpack_archive", "extractall"):
            assert word not in text, file
        if "zipfile" in text:  # one small entry of a known name is read, in memory
            assert file.name == "seal.py"
            assert ".extract(" not in text


def test_a_name_is_never_a_url(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **b: pytest.fail("it was opened"))
    for read in (Manifest.load, Predictions.load):
        with pytest.raises(MoENASError, match="There is no"):
            read("http://127.0.0.1:9/a.parquet")


# Tables that a spreadsheet opens


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1+a", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n=1"])
def test_no_text_of_a_csv_starts_a_formula(cell: str) -> None:
    text = csv_text(pd.DataFrame({cell: [cell, "plain"], "n": [-1.5, 2.0]}))
    back = pd.read_csv(io.StringIO(text, newline=""))
    assert back.columns[0] == back.iloc[0, 0] == "'" + cell
    assert back["n"].tolist() == [-1.5, 2.0]  # numbers stay numbers


def test_every_csv_is_written_that_way() -> None:
    """`degrading` writes numbers and names of our own alone, below the layer that knows pages."""
    writing = (file for file in SOURCE.rglob("*.py") if ".to_csv(" in file.read_text())
    found = {file.relative_to(SOURCE).as_posix() for file in writing}
    assert found == {"report/tables.py", "training/degrading.py"}


# What fuzzing found


def test_numbers_too_large_for_a_float_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"path,label,split\na.png,{'9' * 400},val\n")
    with pytest.raises(MoENASError, match="column 'label' holds"):
        Manifest.load(path)
    values = pd.Series([10**400, "3", None, "x", [1]], dtype=object)
    np.testing.assert_array_equal(
        parsing.to_numbers(values).to_numpy(), [np.nan, 3, np.nan, np.nan, np.nan]
    )


def test_a_state_with_a_right_hash_and_wrong_content_is_not_used(tmp_path: Path) -> None:
    import safetensors.torch

    from moenas.training import checkpoint

    path = tmp_path / "state.safetensors"
    for header in ("{}", "[]", '{"scalars": {"a": 1}, "progress": {}}', "[" * 9000,
                   '{"scalars": {"group/x/lr": 1}, "progress": {}}',
                   '{"scalars": {}, "progress": 3}'):  # fmt: skip
        tensors = {"model/a": torch.zeros(1)}
        metadata = {"moenas_state": header, "sha256": checkpoint._hash(tensors, header)}
        path.write_bytes(safetensors.torch.save(tensors, metadata))
        assert load_state(path) is None, header
