"""A search's settings become training schemes."""

from __future__ import annotations

from moenas.nas.settings import SearchConfig


def test_the_plain_router_is_for_parents_trials_and_finalists_alike() -> None:
    for tuning in (True, False):
        ours = SearchConfig().training(3, tuning=tuning)
        plain = SearchConfig(router="switch").training(3, tuning=tuning)
        assert ours.expert_sharing > 0.5
        assert ours.router_rate < 0.5
        assert plain == ours.plain_experts() != ours
