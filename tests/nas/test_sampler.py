"""The sampler: Optuna's own contract for samplers, and what ours promises beyond it."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import Any

import moocore
import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from optuna.trial import TrialState, create_trial

from moenas.errors import ConfigError, SearchError
from moenas.nas.encoding import Grid
from moenas.nas.observations import _violations, read_history
from moenas.nas.sampler import MoENASSampler

optuna.logging.set_verbosity(optuna.logging.WARNING)

SPACE = {f"e{i}": IntDistribution(1, 8) for i in range(1, 5)}


class ContractCase(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    pass


class TestMixtureContract(ContractCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: MoENASSampler(seed=0, initial=4, repeats=True)


class TestPaperContract(ContractCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: MoENASSampler(seed=0, preset="paper", initial=4, repeats=True)


def total(params: dict[str, Any]) -> float:
    """A size limit: at most 16 experts in all."""
    return sum(params.values()) - 16.0


def values(params: dict[str, Any]) -> list[float]:
    x = np.array([params[f"e{i}"] for i in range(1, 5)])
    return [float(np.log(x).sum()), -float(((x - 3.0) ** 2).sum())]


def make(seed: int = 0, **kwargs: Any) -> MoENASSampler:
    defaults: dict[str, Any] = {"constraint": total, "initial": 6, "search_space": SPACE}
    return MoENASSampler(seed=seed, **(defaults | kwargs))


def study_of(sampler: BaseSampler, storage: Any = None, **kwargs: Any) -> optuna.Study:
    kwargs = {"directions": ["maximize", "maximize"]} | kwargs
    return optuna.create_study(storage=storage, sampler=sampler, **kwargs)


def run(study: optuna.Study, n: int) -> None:
    for _ in range(n):
        trial = study.ask(SPACE)
        study.tell(trial, values(trial.params))


def vectors(study: optuna.Study) -> list[tuple[int, ...]]:
    return [tuple(t.params[name] for name in SPACE) for t in study.trials]


@pytest.mark.parametrize("preset", ["mixture", "paper"])
def test_never_repeats_and_never_breaks_the_constraint(preset):
    study = study_of(make(preset=preset))
    run(study, 20)
    seen = vectors(study)
    assert len(set(seen)) == 20
    assert all(sum(v) <= 16 for v in seen)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**6),
    limit=st.integers(6, 30),
    weights=st.lists(st.integers(1, 3), min_size=4, max_size=4),
)
def test_infeasible_points_are_never_suggested(seed, limit, weights):
    def constraint(params: dict[str, Any]) -> float:
        load = sum(w * (n - 1) for w, n in zip(weights, params.values(), strict=True))
        return float(load - limit)

    study = study_of(make(seed, constraint=constraint, initial=8))
    run(study, 10)
    for params in (t.params for t in study.trials):
        assert constraint(params) <= 0
    assert len(set(vectors(study))) == 10


def test_storage_is_the_only_state(tmp_path):
    """A search killed at any point and resumed by a new process is the same search."""
    whole = study_of(make(), f"sqlite:///{tmp_path}/whole.db")
    run(whole, 14)
    url = f"sqlite:///{tmp_path}/parts.db"
    study_of(make(), url, study_name="parts")
    for n in (5, 6, 3):
        run(optuna.load_study(study_name="parts", storage=url, sampler=make()), n)
    parts = optuna.load_study(study_name="parts", storage=url)
    assert vectors(parts) == vectors(whole)


def test_pickled_sampler_goes_on():
    one, two = study_of(make()), study_of(make())
    run(one, 9)
    run(two, 8)
    two.sampler = pickle.loads(pickle.dumps(two.sampler))
    run(two, 1)
    assert vectors(one) == vectors(two)


def test_seeds_differ():
    one, two = study_of(make(0)), study_of(make(1))
    run(one, 4)
    run(two, 4)
    assert vectors(one) != vectors(two)


@pytest.mark.parametrize("preset", ["mixture", "paper"])
def test_workers_on_one_study_do_not_collide(preset):
    storage = optuna.storages.InMemoryStorage()
    study_of(make(), storage, study_name="shared")
    workers = [
        optuna.load_study(study_name="shared", storage=storage, sampler=make(preset=preset))
        for _ in range(2)
    ]
    for _ in range(4):
        asked = [(w, w.ask(SPACE)) for w in workers for _ in range(3)]
        for worker, trial in asked:
            worker.tell(trial, values(trial.params))
    seen = vectors(workers[0])
    assert len(seen) == len(set(seen)) == 24


def test_point_that_another_worker_reserved_meanwhile_is_given_up(monkeypatch):
    """The race: both workers read the study before either has written its point."""
    study = study_of(make())
    run(study, 7)
    probe = study_of(make(), study_name="probe")
    for trial in study.trials:
        probe.add_trial(trial)
    wanted = probe.ask(SPACE).params
    real = study._storage.set_trial_system_attr

    def slow(trial_id: int, key: str, value: Any) -> None:
        monkeypatch.undo()
        study.enqueue_trial(wanted)  # the other worker was faster
        real(trial_id, key, value)

    monkeypatch.setattr(study._storage, "set_trial_system_attr", slow)
    got = study.ask(SPACE).params
    assert got != wanted
    assert total(got) <= 0


def test_pending_trials_spread_the_batch():
    """Eight asks without an answer are eight different, promising points."""
    study = study_of(make())
    run(study, 16)
    batch = [study.ask(SPACE).params for _ in range(8)]
    assert len({tuple(p.values()) for p in batch}) == 8


def test_points_reserved_but_not_yet_asked_for_are_known():
    study = study_of(make())
    run(study, 8)
    first, second = study.ask(), study.ask()
    a = first.suggest_int("e1", 1, 8)  # e2..e4 of the first are only reserved
    other = {name: second.suggest_int(name, 1, 8) for name in SPACE}
    mine = {"e1": a} | {name: first.suggest_int(name, 1, 8) for name in ("e2", "e3", "e4")}
    assert mine != other


def test_enqueued_point_is_used_and_not_repeated():
    study = study_of(make())
    study.enqueue_trial(dict.fromkeys(SPACE, 1))
    run(study, 8)
    seen = vectors(study)
    assert seen[0] == (1, 1, 1, 1)
    assert len(set(seen)) == 8


def test_partly_enqueued_point_is_completed_feasibly():
    study = study_of(make())
    run(study, 8)
    study.enqueue_trial({"e3": 8})
    run(study, 1)
    assert study.trials[-1].params["e3"] == 8
    assert total(study.trials[-1].params) <= 0


def few(params: dict[str, Any]) -> float:
    """Seven feasible points of 4,096: the corner and six beside it."""
    x = [params[f"e{i}"] - 1 for i in range(1, 5)]
    return x[0] + 2.0 * x[1] + 4 * x[2] + 9 * x[3] - 4


@pytest.mark.parametrize("preset", ["mixture", "paper"])
def test_few_feasible_points_are_exhausted_then_named(preset):
    feasible = sum(
        few({f"e{i + 1}": int(k) + 1 for i, k in enumerate(x)}) <= 0 for x in np.ndindex(8, 8, 8, 8)
    )
    study = study_of(make(constraint=few, preset=preset))
    run(study, feasible)
    assert len(set(vectors(study))) == feasible
    with pytest.raises(SearchError, match="exhausted"):
        study.ask(SPACE)
    again = study_of(make(constraint=few, repeats=True, preset=preset))
    run(again, feasible + 3)
    assert len(set(vectors(again))) == feasible


def test_exhaustion_of_a_space_too_large_to_list():
    space = {f"x{i}": IntDistribution(0, 9) for i in range(8)}

    def constraint(params: dict[str, Any]) -> float:
        return sum(params.values()) - 1.0  # the corner and its eight neighbours

    sampler = MoENASSampler(constraint=constraint, initial=4, search_space=space)
    study = optuna.create_study(sampler=sampler)
    for _ in range(9):
        trial = study.ask(space)
        study.tell(trial, float(trial.number))
    assert len({tuple(t.params.values()) for t in study.trials}) == 9
    with pytest.raises(SearchError, match="exhausted"):
        study.ask(space)


def test_constraint_that_nothing_meets():
    study = study_of(make(constraint=lambda p: sum(p.values()) + 1.0))
    with pytest.raises(SearchError, match="No feasible point"):
        study.ask(SPACE)


def test_constraint_that_needs_an_unknown_parameter():
    study = study_of(make(constraint=lambda p: p["width"] - 3.0))
    with pytest.raises(SearchError, match="width"):
        study.ask(SPACE)


def test_narrow_constraint_is_found_by_descent():
    """One vector in 4,096 is feasible: no random draw need hit it."""
    aim = {"e1": 7, "e2": 2, "e3": 5, "e4": 6}
    study = study_of(make(constraint=lambda p: float(sum(abs(p[k] - v) for k, v in aim.items()))))
    assert study.ask(SPACE).params == aim


def test_directions_are_honoured():
    """The same problem with flipped signs is the same search."""
    up, down = study_of(make()), study_of(make(), directions=["minimize", "maximize"])
    for _ in range(14):
        a, b = up.ask(SPACE), down.ask(SPACE)
        assert a.params == b.params
        first, second = values(a.params)
        up.tell(a, [first, second])
        down.tell(b, [-first, second])


def test_finds_the_optimum_of_one_objective():
    study = study_of(make(), directions=["minimize"])
    for _ in range(30):
        trial = study.ask(SPACE)
        study.tell(
            trial,
            sum((n - aim) ** 2 for n, aim in zip(trial.params.values(), (2, 7, 1, 5), strict=True)),
        )
    assert study.best_value == 0


def test_beats_random_search_on_the_front():
    def spread_of(sampler: BaseSampler) -> float:
        study = study_of(sampler)
        run(study, 30)
        points = np.array([values(t.params) for t in study.trials])
        return float(moocore.hypervolume(points, ref=[0.0, -60.0], maximise=True))

    class Random(MoENASSampler):
        def __init__(self, seed: int) -> None:
            super().__init__(seed, constraint=total, initial=99, search_space=SPACE)

    ours = np.mean([spread_of(make(seed)) for seed in range(3)])
    random = np.mean([spread_of(Random(seed)) for seed in range(3)])
    assert ours > random


def test_trial_constraints_are_learnt():
    """Points with e1 > 4 turn out infeasible, though one objective wants them: they are avoided."""

    def share_infeasible(constrained: bool) -> float:
        study = study_of(make(initial=10, constraint=None))
        for _ in range(30):
            trial = study.ask(SPACE)
            if constrained:
                trial.set_constraint("accuracy", trial.params["e1"] - 4.0)
            study.tell(trial, values(trial.params))
        return float(np.mean([t.params["e1"] > 4 for t in study.trials[14:]]))

    assert share_infeasible(True) <= 0.2 < 0.35 <= share_infeasible(False)


def test_nothing_feasible_yet():
    study = study_of(make(initial=5, constraint=None))
    for _ in range(25):
        trial = study.ask(SPACE)
        trial.set_constraint("small", float(sum(trial.params.values()) - 6))
        study.tell(trial, values(trial.params))
    assert min(sum(v) for v in vectors(study)) <= 6


def test_failed_trials_teach_nothing_but_are_not_repeated():
    study = study_of(make())
    for k in range(16):
        trial = study.ask(SPACE)
        if k % 3 == 1:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, values(trial.params))
    assert len(set(vectors(study))) == 16


def test_infinite_values_are_survived():
    study = study_of(make())
    run(study, 8)
    trial = study.ask(SPACE)
    study.tell(trial, [float("-inf"), float("inf")])
    run(study, 2)
    assert len(set(vectors(study))) == 11


@pytest.mark.parametrize("others", [[-5.0, -4.0], [-1.0], []])
def test_an_infinite_violation_is_never_met(others):
    """Whatever the finite ones of the same constraint are; minus infinity always is."""
    reported = [{"a": c} for c in (*others, float("inf"))]
    assert (_violations(reported)[:, 0] <= 0).tolist() == [True] * len(others) + [False]
    reported = [{"a": -c} for c in (*others, float("inf"))]
    assert (_violations(reported)[:, 0] <= 0).tolist() == [False] * len(others) + [True]


def test_an_infinite_value_differs_from_a_constant():
    study = study_of(make())
    for worth in (1.0, 1.0, float("-inf")):
        study.tell(study.ask(SPACE), [worth, worth])
    Y = read_history(study.trials, study.directions, Grid(SPACE), -1).data.Y
    assert (Y[2] < Y[:2]).all()
    assert np.isfinite(Y).all()


def test_constant_objective_is_survived():
    study = study_of(make())
    for _ in range(12):
        trial = study.ask(SPACE)
        study.tell(trial, [1.0, float(trial.params["e1"])])
    assert len(set(vectors(study))) == 12


@pytest.mark.parametrize("objectives", [1, 2, 3, 4, 5])
def test_numbers_of_objectives_and_mixed_parameters(objectives):
    space = {
        "n": IntDistribution(1, 8),
        "wide": IntDistribution(16, 4096, log=True),
        "even": IntDistribution(0, 10, step=2),
        "gate": CategoricalDistribution(["exact", None, True, 1.5]),
        "rate": FloatDistribution(1e-5, 1e-1, log=True),
        "fixed": IntDistribution(3, 3),
    }

    def constraint(params: dict[str, Any]) -> float:
        return params["n"] * params["fixed"] - (24.0 if params["gate"] == "exact" else 15.0)

    sampler = MoENASSampler(constraint=constraint, initial=8, search_space=space)
    study = optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)
    for _ in range(14):
        trial = study.ask(space)
        p = trial.params
        assert constraint(p) <= 0
        assert all(d._contains(d.to_internal_repr(p[name])) for name, d in space.items())
        base = p["n"] + (p["gate"] == "exact") + np.log(p["wide"]) / 8 + p["even"] / 10
        study.tell(trial, [float(base * (k + 1) % 7) for k in range(objectives)])


def test_space_is_learnt_from_the_study_when_not_given():
    study = study_of(make(search_space=None))
    run(study, 12)
    seen = vectors(study)
    assert seen[0] == (1, 1, 1, 1)  # nothing is known yet: the least of everything
    assert len(set(seen)) == 12
    assert all(sum(v) <= 16 for v in seen)


def test_conditional_spaces_fall_back_to_random():
    study = optuna.create_study(sampler=MoENASSampler(initial=4))

    def objective(trial: optuna.Trial) -> float:
        kind = trial.suggest_categorical("kind", ["a", "b"])
        n = trial.suggest_int("n", 1, 30)
        return float(n + (trial.suggest_int("depth", 1, 9) if kind == "a" else 5))

    study.optimize(objective, n_trials=15)
    assert all(t.state == TrialState.COMPLETE for t in study.trials)


@pytest.mark.parametrize("preset", ["mixture", "paper"])
def test_branches_are_taken_again_when_all_were_tried(preset):
    """Their own parameters are others each time: a space of two branches is not exhausted."""
    study = optuna.create_study(sampler=MoENASSampler(initial=12, preset=preset))

    def objective(trial: optuna.Trial) -> float:
        if trial.suggest_categorical("kind", ["a", "b"]) == "a":
            return trial.suggest_float("width", 0, 1)
        return 1 - trial.suggest_float("depth", 0, 1)

    study.optimize(objective, n_trials=16)
    kinds = [t.params["kind"] for t in study.trials[:12]]
    assert 3 <= kinds.count("a") <= 9
    assert len({tuple(t.params.values()) for t in study.trials}) == 16


def test_conditional_parameter_beside_a_constraint_is_still_explored():
    sampler = MoENASSampler(constraint=lambda p: p["n"] - 9.0, initial=4)
    study = optuna.create_study(sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        n = trial.suggest_int("n", 1, 20)
        return float(n + (trial.suggest_int("depth", 1, 9) if n % 2 else 0))

    study.optimize(objective, n_trials=9)
    assert all(t.params["n"] <= 9 for t in study.trials)
    assert len({t.params["depth"] for t in study.trials if "depth" in t.params}) > 1


def test_names_with_a_common_head_are_drawn_independently():
    sampler = MoENASSampler()
    study = optuna.create_study(sampler=sampler)
    names = [f"experts_of_layer_{i}" for i in range(6)]
    trial = study.ask()._get_latest_trial()
    drawn = [sampler.sample_independent(study, trial, n, IntDistribution(1, 1000)) for n in names]
    assert len(set(drawn)) > 3


def test_vector_and_scalar_constraints_give_the_same_search():
    class Vector:
        calls = 0

        def __call__(self, params: dict[str, Any]) -> float:
            return total(params)

        def many(self, columns: dict[str, Any]) -> Any:
            self.calls += 1
            return np.sum(list(columns.values()), axis=0) - 16.0

    vector = Vector()
    one, two = study_of(make()), study_of(make(constraint=vector))
    run(one, 9)
    run(two, 9)
    assert vectors(one) == vectors(two)
    assert vector.calls > 0


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"preset": "papre"}, "paper"),
        ({"seed": -1}, "seed"),
        ({"initial": 0}, "initial"),
        ({"batch": 0}, "batch"),
        ({"constraint": 3}, "constraint"),
    ],
)
def test_bad_settings_are_named(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        MoENASSampler(**kwargs)


def test_large_studies_stay_quick():
    """A suggestion at 2,000 trials; the limit is generous for a busy machine."""
    rng = np.random.default_rng(0)
    study = study_of(make())
    points = np.unique(rng.integers(1, 6, (2000, 4)), axis=0)
    for x in points[points.sum(1) <= 16]:
        params = {f"e{i + 1}": int(n) for i, n in enumerate(x)}
        study.add_trial(create_trial(params=params, distributions=SPACE, values=values(params)))
    start = time.process_time()
    study.ask(SPACE)
    assert time.process_time() - start < 3
