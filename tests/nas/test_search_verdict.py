from __future__ import annotations

import itertools
import re
from typing import Any

from moenas.nas.verdict import verdict


def entry(difference: float = 0.0, better: bool | None = None, p: float = 0.5) -> dict[str, Any]:
    return {
        "difference": difference,
        "low": difference - 0.01,
        "high": difference + 0.01,
        "p": p,
        "p_holm": p,
        "better": better,
    }


def model(name: str, role: str, **options: Any) -> dict[str, Any]:
    versus = options.pop("versus", {})
    metrics = ("balanced_accuracy", "fairness", "robustness")
    return {
        "name": name,
        "role": role,
        "parameters": 2_480_000,
        "person_share": options.pop("person_share", 0.5),
        "report": {m: {"mean": 0.8, "low": 0.7, "high": 0.9} for m in metrics},
        "noise_floor": options.pop("floor", {"mean": 0.9, "sd": 0.02, "low": 0.85, "p_holm": 0.4}),
        "versus": {
            reference: {m: entry(*versus.get((reference, m), ())) for m in metrics}
            for reference in ("base", "wider")
            if role == "finalist"
        },
    }


BASE, WIDER = model("small", "base"), model("wide", "wider")


def say(*finalists: dict[str, Any], base: dict[str, Any] = BASE, groups: bool = True) -> list[str]:
    return verdict([base, WIDER, *finalists], groups)


def test_no_difference_is_said_first() -> None:
    lines = say(model("MoENAS-S", "finalist", versus={("base", "fairness"): (0.03, None, 0.2)}))
    assert lines[0].startswith("No finalist differs from the base model it started from")
    assert "+3.0 points in skin fairness (MoENAS-S" in lines[0]
    assert lines[1].startswith("No finalist differs from the wider dense model (wide, 2.48M)")


def test_better_worse_and_mixed() -> None:
    win = {("base", "fairness"): (0.05, True, 0.01)}
    loss = {("base", "robustness"): (-0.04, False, 0.0001)}
    better = say(model("A", "finalist", versus=win))[0]
    assert better.startswith(
        "Better than the base model it started from: A in skin fairness by 5.0"
    )
    assert "p = 0.010" in better
    worse = say(model("A", "finalist", versus=loss))[0]
    assert worse.startswith("Worse than the base model")
    assert "robustness to light by 4.0 points" in worse
    assert "p < 0.001" in worse
    mixed = say(model("A", "finalist", versus=win), model("B", "finalist", versus=loss))[0]
    assert mixed.startswith("Mixed against the base model")


def test_better_is_said_only_of_what_is_certain() -> None:
    """Over every combination of outcomes the first word tells the truth."""
    for outcomes in itertools.product((None, True, False), repeat=3):
        names = ("balanced_accuracy", "fairness", "robustness")
        versus = {
            ("base", n): (0.02 if o else -0.02, o) for n, o in zip(names, outcomes, strict=True)
        }
        first = say(model("A", "finalist", versus=versus))[0]
        assert first.startswith("Better") == (True in outcomes and False not in outcomes)
        assert first.startswith("Worse") == (False in outcomes and True not in outcomes)
        assert first.startswith("Mixed") == (True in outcomes and False in outcomes)
        assert first.startswith("No finalist") == (outcomes == (None, None, None))


def test_a_constant_model_is_called_useless() -> None:
    lines = say(model("A", "finalist", person_share=1.0))
    assert any(re.search("^A says the same for nearly every image.*useless", x) for x in lines)
    assert not any("useless" in line for line in say(model("A", "finalist")))


def test_unfairness_is_told_against_the_noise_floor() -> None:
    unfair = {"mean": 0.93, "sd": 0.02, "low": 0.9, "p_holm": 0.0004}
    lines = say(model("A", "finalist"), base=model("small", "base", floor=unfair))
    line = next(x for x in lines if x.startswith("The base model treats groups"))
    assert "unequally" in line
    assert "fairness is 80.0" in line
    assert "perfectly fair model would have 93.0" in line
    assert "p < 0.001" in line
    fair = next(x for x in say(model("A", "finalist")) if "treats groups" in x)
    assert "alike as far as can be told" in fair


def test_without_groups_fairness_is_not_judged() -> None:
    assert not any("groups" in line for line in say(model("A", "finalist"), groups=False))


def test_without_finalists_the_search_found_nothing() -> None:
    assert verdict([BASE, WIDER], True)[0].startswith("The search found no architecture")


def test_a_single_seed_has_no_interval() -> None:
    finalist = model("A", "finalist")
    for entries in finalist["versus"].values():
        for values in entries.values():
            values.update(low=None, high=None, p_holm=None)
    assert "95 % interval unknown: one seed" in say(finalist)[0]
