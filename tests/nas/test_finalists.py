from __future__ import annotations

from typing import Any

import optuna
import pytest
from fake_search import SPACE
from optuna.trial import TrialState

from moenas.nas.finalists import SIZE_CLASSES, choose_finalists, size_limits

SMALLEST, LARGEST = SPACE.smallest, 2_000_000
LIMITS = list(size_limits(SMALLEST, LARGEST).values())


def study_of(*trials: dict[str, Any]) -> optuna.Study:
    """A study of trials with ``experts``, ``values``, and perhaps ``violation`` or ``state``."""
    study = optuna.create_study(directions=["maximize"] * 2)
    for trial in trials:
        state = trial.get("state", TrialState.COMPLETE)
        frozen = optuna.create_trial(
            state=state,
            values=trial["values"] if state == TrialState.COMPLETE else None,
            params=SPACE.encode(trial["experts"]),
            distributions=SPACE.distributions(),
            user_attrs={"parameters": int(SPACE.parameters([trial["experts"]])[0])},
            system_attrs={"constraints:accuracy": trial.get("violation", -0.1)},
        )
        study.add_trial(frozen)
    assert study.trials[0].constraints == {"accuracy": trials[0].get("violation", -0.1)}
    return study


def vector(*counts: int) -> tuple[int, ...]:
    return (*counts, *[1] * (9 - len(counts)))


SMALL, MIDDLE, BIG = vector(4), vector(8, 8, 4), vector(8, 8, 8, 8, 4)


def choose(study: optuna.Study, count: int = 3) -> dict[str, tuple[int, ...]]:
    found = choose_finalists(study, SPACE.base, SMALLEST, LARGEST, count)
    return {f.size_class: f.architecture.experts for f in found}


def test_the_classes_split_the_room_evenly() -> None:
    assert tuple(size_limits(1, 4)) == SIZE_CLASSES
    assert list(size_limits(1_000, 4_000).values()) == [2_000, 3_000, 4_000]
    sizes = SPACE.parameters([SMALL, MIDDLE, BIG])
    assert sizes[0] <= LIMITS[0] < sizes[1] <= LIMITS[1] < sizes[2] <= LIMITS[2]


def test_there_is_one_of_each_class() -> None:
    study = study_of(
        {"experts": BIG, "values": [0.9, 0.5]},
        {"experts": SMALL, "values": [0.7, 0.7]},
        {"experts": MIDDLE, "values": [0.8, 0.6]},
    )
    assert choose(study) == {"XXS": SMALL, "XS": MIDDLE, "S": BIG}
    found = choose_finalists(study, SPACE.base, SMALLEST, LARGEST)
    assert [f.name for f in found] == ["MoENAS-XXS", "MoENAS-XS", "MoENAS-S"]
    assert [f.trial for f in found] == [1, 2, 0]


def test_the_best_of_a_class_is_the_one_that_adds_most() -> None:
    study = study_of(
        {"experts": vector(2), "values": [0.50, 0.90]},
        {"experts": vector(3), "values": [0.89, 0.89]},
        {"experts": vector(4), "values": [0.90, 0.50]},
    )
    assert choose(study)["XXS"] == vector(3)


def test_the_best_is_chosen_although_another_is_as_good() -> None:
    study = study_of(
        {"experts": vector(4), "values": [0.5, 0.5]},
        {"experts": vector(2), "values": [0.9, 0.9]},
        {"experts": vector(3), "values": [0.9, 0.9]},
    )
    assert choose(study) == {"XXS": vector(2), "XS": vector(3), "S": vector(4)}


def test_a_small_model_may_win_a_larger_class() -> None:
    """Classes are limits, not ranges; each architecture is chosen once."""
    study = study_of(
        {"experts": vector(2), "values": [0.9, 0.9]},
        {"experts": vector(3), "values": [0.8, 0.8]},
        {"experts": BIG, "values": [0.1, 0.1]},
    )
    assert choose(study) == {"XXS": vector(2), "XS": vector(3), "S": BIG}


def test_the_base_model_is_no_finalist() -> None:
    study = study_of(
        {"experts": vector(), "values": [1.0, 1.0]}, {"experts": SMALL, "values": [0.2, 0.2]}
    )
    assert choose(study) == {"XXS": SMALL}


def test_what_is_too_inaccurate_is_no_finalist() -> None:
    """A model that always says the same is perfectly fair: the constraint keeps it out."""
    study = study_of(
        {"experts": SMALL, "values": [0.5, 1.0], "violation": 0.3},
        {"experts": MIDDLE, "values": [0.8, 0.6]},
    )
    assert choose(study) == {"XS": MIDDLE}


def test_failed_and_running_trials_are_no_finalists() -> None:
    study = study_of(
        {"experts": MIDDLE, "values": [0.8, 0.6]},
        {"experts": SMALL, "values": None, "state": TrialState.FAIL},
        {"experts": BIG, "values": None, "state": TrialState.RUNNING},
    )
    assert choose(study) == {"XS": MIDDLE}


@pytest.mark.parametrize(
    ("count", "classes"), [(0, []), (1, ["S"]), (2, ["XS", "S"]), (3, ["XXS", "XS", "S"])]
)
def test_fewer_finalists_are_the_larger_classes(count: int, classes: list[str]) -> None:
    study = study_of(
        {"experts": SMALL, "values": [0.7, 0.7]},
        {"experts": vector(3), "values": [0.6, 0.75]},
        {"experts": vector(2), "values": [0.75, 0.6]},
    )
    assert list(choose(study, count)) == classes


def test_a_search_without_results_has_no_finalists() -> None:
    study = optuna.create_study(directions=["maximize"] * 2)
    assert choose_finalists(study, SPACE.base, SMALLEST, LARGEST) == []
