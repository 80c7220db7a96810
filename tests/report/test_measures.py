from __future__ import annotations

import pytest

from moenas.report.measures import duration, millions, number, percent, probability, size_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (percent(0.8734), "87.3"),
        (percent(-0.0126, signed=True), "−1.3"),
        (percent(0.0126, signed=True), "+1.3"),
        (percent(-0.0001), "0.0"),
        (percent(0.0001, signed=True), "0.0"),
        (percent(None), "–"),
        (number(-3.0, 0), "−3"),
        (millions(1_114_000), "1.11"),
        (millions(None), "–"),
        (duration(7.25), "7.2 s"),
        (duration(71.4), "71 s"),
        (duration(3599.0), "1 h"),
        (duration(3900.0), "1 h 5 min"),
        (duration(None), "–"),
        (size_of(512), "512 B"),
        (size_of(4_456_000), "4.5 MB"),
        (size_of(7_000_000_000_000), "7000.0 GB"),
        (probability(0.0004), "< 0.001"),
        (probability(0.0234), "0.023"),
        (probability(None), "–"),
    ],
)
def test_numbers_are_written_as_people_do(text, expected):
    assert text == expected
