from __future__ import annotations

import logging
import threading

import pytest

from moenas.data.waiting import one_at_a_time
from moenas.errors import RunFolderError


def test_the_second_waits_and_says_so(tmp_path, caplog):
    path = tmp_path / "new" / ".lock"
    order: list[str] = []
    inside, told = threading.Event(), threading.Event()

    def first() -> None:
        with one_at_a_time(path, "draws"):
            inside.set()
            told.wait(10)
            order.append("first")

    class Tell(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    logger = logging.getLogger("moenas")
    handler = Tell()
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO, logger="moenas"):
            thread = threading.Thread(target=first)
            thread.start()
            assert inside.wait(10)
            with one_at_a_time(path, "draws"):
                order.append("second")
            thread.join()
    finally:
        logger.removeHandler(handler)
    assert order == ["first", "second"]
    assert "Another process draws: waiting" in caplog.text


def test_released_after_an_error_and_refused_where_nothing_can_be_written(tmp_path):
    with pytest.raises(ZeroDivisionError), one_at_a_time(tmp_path / ".lock", "x"):
        _ = 1 / 0
    with one_at_a_time(tmp_path / ".lock", "x"):
        pass
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunFolderError, match="Cannot write"),
        one_at_a_time(tmp_path / "file" / ".lock", "x"),
    ):
        pass  # fmt: skip
