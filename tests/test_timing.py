import itertools

import pytest

from moenas.timing import interleaved


class Clock:
    """Time that passes only when work says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def work(self, seconds):
        def run():
            self.now += seconds

        return run


def test_ratio_and_quartile_of_known_times():
    clock = Clock()
    timing = interleaved({"a": clock.work(2.0), "b": clock.work(0.5)}, rounds=5, clock=clock)
    assert timing.ratio("a", "b") == pytest.approx(4)
    assert timing.quartile("a") == pytest.approx(2)
    assert len(timing.seconds["a"]) == len(timing.seconds["b"]) == 5


def test_every_round_has_everything_and_nothing_always_comes_first():
    calls = []
    work = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    interleaved(work, rounds=60, warm_up=1)
    rounds = ["".join(calls[start : start + 3]) for start in range(3, len(calls), 3)]
    assert len(rounds) == 60
    assert set(rounds) == {"abc", "acb", "bac", "bca", "cab", "cba"}
    assert all(sum(each[0] == name for each in rounds) > 10 for name in "abc")


def test_a_slow_stretch_hits_both_and_leaves_the_ratio():
    clock = Clock()
    slow = itertools.cycle([1.0, 1.0, 10.0, 10.0])  # whole rounds are slow

    def work(share):
        def run():
            clock.now += share * next(slow)

        return run

    timing = interleaved({"a": work(3.0), "b": work(1.0)}, rounds=8, warm_up=2, clock=clock)
    assert timing.ratio("a", "b") == pytest.approx(3)


def test_short_work_is_repeated_and_reported_for_one_call():
    clock = Clock()
    timing = interleaved({"a": clock.work(0.001)}, rounds=3, minimum_seconds=0.1, clock=clock)
    assert timing.quartile("a") == pytest.approx(0.001)
    assert clock.now == pytest.approx(0.002 + 3 * 0.1)


def test_one_round():
    clock = Clock()
    assert interleaved({"a": clock.work(1.0)}, rounds=1, clock=clock).quartile("a") == 1.0


def test_what_comes_before_is_called_each_time_and_not_counted():
    clock, calls = Clock(), []

    def prepare(name):
        calls.append(name)
        clock.now += 100

    work = {"a": clock.work(2.0), "b": clock.work(1.0)}
    timing = interleaved(work, rounds=2, warm_up=1, clock=clock, before=prepare)
    assert calls[:2] == ["a", "b"]  # warm-up
    assert [sorted(calls[i : i + 2]) for i in (2, 4)] == [["a", "b"]] * 2
    assert timing.seconds == {"a": (2.0, 2.0), "b": (1.0, 1.0)}
