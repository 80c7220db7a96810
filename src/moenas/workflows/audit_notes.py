"""What must be said of an audit beside its verdict: failed trainings, groups that are left out."""

from __future__ import annotations

from collections.abc import Mapping

from moenas.evaluation.words import listed
from moenas.predictions import Predictions
from moenas.workflows.audit_models import Candidate


def failed_seeds(candidate: Candidate) -> tuple[str, ...]:
    """Say which of a model's trainings failed; nothing where none did."""
    if not candidate.failed:
        return ()
    why = "; ".join(f"seed {seed}: {reason}" for seed, reason in candidate.failed.items())
    done, all_ = len(candidate.seeds), len(candidate.seeds) + len(candidate.failed)
    return (
        f"{done} of {all_} trainings with {candidate.scheme} succeeded, and the numbers are of "
        f"{'it' if done == 1 else 'these'} alone ({why.rstrip('.')}).",
    )


def unequal_seeds(there: Mapping[str, Candidate]) -> str:
    """Say how often each model was trained, where that is not the same for all."""
    names: dict[int, list[str]] = {}
    for name, each in there.items():
        names.setdefault(len(each.seeds), []).append(name)
    told = [
        f"{listed(own)} {'once' if times == 1 else f'{times} times'}"
        for times, own in sorted(names.items(), reverse=True)
    ]
    failed = [
        f"{name} with {each.scheme}, seed {seed}"
        for name, each in there.items()
        for seed in each.failed
    ]
    return (
        f"Not all models were trained equally often, because trainings failed ({'; '.join(failed)})"
        f": {'; '.join(told)}. Intervals cover trainings, too, where there are several."
    )


def weightless_groups(half: Predictions) -> list[str]:
    """Say which groups are not spoken of, because none of their images weighs anything."""
    given = {int(group) for group in half.frame["group"].dropna()}
    lost = sorted(given - set(half.group.tolist()))
    if not lost:
        return []
    which = f"Group{'s' * (len(lost) > 1)} {listed([str(group) for group in lost])}"
    return [f"{which} {'is' if len(lost) == 1 else 'are'} left out: all their images weigh 0."]
