"""The first screen's answers: for whom is it better, how sure is that, what should come next."""

from __future__ import annotations

import dataclasses

from markupsafe import Markup

from moenas.evaluation.comparison import LEVEL
from moenas.report.cards import chosen_finalist
from moenas.report.charts_answer import tone_steps
from moenas.report.measures import HEADLINE, MEASURES, number, percent, probability
from moenas.report.results import ComparedModel, Results
from moenas.report.theme import Style
from moenas.report.verdict import Badge


@dataclasses.dataclass(frozen=True)
class Answer:
    """One question with its answer: sentences, and a small drawing where one helps."""

    question: str
    sentences: tuple[str, ...]
    drawing: Markup | None = None


def answers(results: Results, badge: Badge, styles: dict[str, Style]) -> list[Answer]:
    """Return the answers for the finalist that the key numbers show.

    Args:
        results: What the run folder holds; without a comparison only the last question is asked.
        badge: The verdict's badge.
        styles: Style by model name.
    """
    comparison = results.comparison
    chosen = chosen_finalist(comparison, results.trials) if comparison else None
    found = []
    if comparison:
        base = next((model for model in comparison.models if model.role == "base"), None)
        shown = chosen or base
        if shown and any(group.mean is not None for group in shown.groups):
            found.append(_for_whom(shown, base, styles))
        if shown:
            found.append(_how_sure(results, shown))
    found.append(Answer("What next?", tuple(_next(results, badge, chosen))))
    return found


def _for_whom(shown: ComparedModel, base: ComparedModel | None, styles: dict[str, Style]) -> Answer:
    own = {group.group: group.mean for group in shown.groups if group.mean is not None}
    other = {g.group: g.mean for g in base.groups if g.mean is not None} if base else {}
    gains = {tone: own[tone] - other[tone] for tone in own if tone in other}
    half = {
        g.group: (g.high - g.low) / 2
        for g in shown.groups
        if g.high is not None and g.low is not None
    }
    sentences = []
    if base and shown is not base and gains:
        sentences.append(
            f"Tone by tone {shown.name} lies {percent(min(gains.values()), signed=True)} to "
            f"{percent(max(gains.values()), signed=True)} points from the base model."
        )
    worst = min(own, key=own.__getitem__)
    sentences.append(
        f"Its mean accuracy is {percent(own[worst])} % on tone {worst}, the lowest, and "
        f"{percent(max(own.values()))} % on the highest."
    )
    if half:
        finest, coarsest = min(half, key=half.__getitem__), max(half, key=half.__getitem__)
        sentences.append(
            f"A tone's accuracy is known to ± {percent(half[finest], 0)} (tone {finest}) to "
            f"± {percent(half[coarsest], 0)} points (tone {coarsest})."
        )
        if gains and all(abs(gain) < half.get(tone, 1.0) for tone, gain in gains.items()):
            sentences.append("Each tone's gain or loss is smaller than that.")
    label = f"Accuracy by skin tone of {shown.name}" + (" and the base model" if gains else "")
    pair = (shown, base if base is not shown else None)
    return Answer("For whom?", tuple(sentences), tone_steps(*pair, styles, label=label))


def _how_sure(results: Results, shown: ComparedModel) -> Answer:
    sentences = []
    data = results.summary.data if results.summary else None
    report = data.counts.get("report") if data else None
    seeds = len(shown.seeds)
    if seeds:
        images = f", {report.n:,} images that the search never saw" if report else ""
        sentences.append(f"{seeds} training{'' if seeds == 1 else 's'} a model{images}.")
    compared = [
        differences[measure]
        for differences in shown.versus.values()
        for measure in HEADLINE
        if measure in differences
    ]
    if compared:
        decided = sum(difference.better is not None for difference in compared)
        sentences.append(
            f"Of {shown.name}'s {len(compared)} differences in the four objectives {decided} "
            f"{'is' if decided == 1 else 'are'} decided at 95 %, after correction for their number."
        )
    floor = shown.noise_floor
    if floor and floor.p_holm is not None:
        chance = (
            "no further apart than chance alone puts those of a perfectly fair model"
            if floor.p_holm >= LEVEL
            else "further apart than chance explains"
        )
        sentences.append(f"Its tones are {chance} (p {_equals(floor.p_holm)}).")
    if not sentences:
        sentences.append("Not known: there is one training a model and no interval.")
    return Answer("How sure?", tuple(sentences))


def _equals(value: float) -> str:
    text = probability(value)
    return text if text.startswith("<") else f"= {text}"


def _next(results: Results, badge: Badge, chosen: ComparedModel | None) -> list[str]:
    """Say what a reader would do now; one or two sentences."""
    if chosen is None:
        if not results.trials:
            return ["Run the command that made this run folder again: it goes on where it stopped."]
        return [
            "Let the search end: its finalists are then trained again, with several seeds, and "
            "compared here. Until then look at the trials, and quote none."
        ]
    drawn = bool(results.summary and results.summary.data and results.summary.data.note)
    real = " on photographs of the people whom it will meet" if drawn else " on your own images"
    if badge.outcome == "better":
        return [
            f"Measure {chosen.name}{real} (moenas evaluate) before it is used.",
            "Is another balance wanted? Choose among the trials of the search, below.",
        ]
    lost = [
        MEASURES[measure].label.lower()
        for measure in HEADLINE
        if any(d[measure].better is False for d in chosen.versus.values() if measure in d)
    ]
    if badge.outcome in ("mixed", "not better"):
        weak = f" {chosen.name} is behind in {' and '.join(lost)}." if lost else ""
        first = (
            "Weigh what is won against what is not: the table below has each difference."
            if badge.outcome == "mixed"
            else "Keep the base model."
        )
        return [
            first + weak,
            "More seeds (--seeds) and more report images would narrow the intervals; longer "
            "trainings may set the models apart.",
        ]
    spans = [
        accuracy.high - accuracy.low
        for difference in chosen.versus.values()
        if (accuracy := difference.get("balanced_accuracy"))
        and accuracy.high is not None
        and accuracy.low is not None
    ]
    seen = (
        f" Now only differences in accuracy of about {number(50 * max(spans))} points are seen."
        if spans
        else ""
    )
    return [
        "More seeds for the finalists (--seeds), or more report images, would decide." + seen,
        "Until then prefer the smaller model.",
    ]
