"""What a model card says, gathered for its template."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from moenas.evaluation.judgement import judgement
from moenas.models.architecture import Architecture
from moenas.models.pretrained import published
from moenas.report.card.metadata import title
from moenas.report.card.subject import Subject
from moenas.report.measures import HEADLINE, MEASURES, millions, number, percent, probability, span
from moenas.report.theme import LIGHT_LABELS


def card_content(subject: Subject) -> dict[str, Any]:
    """Return the variables of ``model_card.md.j2``; a part that nothing is known of is empty."""
    scores, architecture = subject.scores, Architecture.parse(subject.stored.architecture)
    sources = subject.data.sources
    return {
        "subject": subject,
        "scores": scores,
        "architecture": architecture,
        "drawings": "emoji" in sources,
        "sources": [title(source) for source in sources],
        "only_drawings": sources == ("emoji",),
        "licences": [source for source in sources if source in LICENCES],
        "licence_notes": {name: Markup(text) for name, text in LICENCES.items()},  # noqa: S704
        "start": published(architecture.base) if subject.pretrained is True else None,
        "size": millions(scores.parameters),
        "macs": number(scores.macs / 1e6, 1),
        "judgement": (_accuracy(subject), *judgement(scores), *_against(subject)),
        "measures": list(_measures(subject)),
        "groups": list(_groups(subject)),
        "lights": list(_lights(subject)),
        "floor": _floor(subject),
        "training": list(_training(subject)),
        "splits": list(subject.data.counts.items()),
        "seeds": len(subject.over_seeds.seeds) if subject.over_seeds else 1,
    }


LICENCES = {
    "emoji": "Emoji Scenes is drawn from [Twemoji](https://github.com/jdecked/twemoji) "
    "([CC BY 4.0](https://creativecommons.org/licenses/by/4.0/), copyright Twitter, Inc and other "
    "contributors) and [OpenMoji](https://openmoji.org) "
    "([CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/)). Name both. Pictures that "
    "show OpenMoji drawings may be passed on under CC BY-SA 4.0 only; whether that reaches weights "
    "trained on them is not settled. Skin tones: Monk Skin Tone Scale by Ellis Monk, CC BY 4.0.",
    "coco": "COCO's annotations are under CC BY 4.0; its images are Flickr users' and under the "
    "terms that these chose.",
    "facet": "FACET is licensed for evaluation only: no image of it was trained on, and none may "
    "be used to train this model further.",
    "wake_vision": "Wake Vision's labels are under CC BY 4.0; its images come from Open Images, "
    "most under CC BY 2.0.",
    "cifar100": "CIFAR-100 states no licence; it is a subset of Tiny Images, whose makers withdrew "
    "it in 2020.",
}
"""What the makers of the images ask for, in Markdown."""


def _accuracy(subject: Subject) -> str:
    """The first sentence: how often it is right."""
    scores, many = subject.scores, subject.over_seeds
    seen = (
        f"It finds {percent(scores.tpr)} % of the images with a person and leaves "
        f"{percent(scores.tnr)} % of those without alone: {percent(scores.balanced_accuracy)} % "
        "balanced accuracy"
    )
    interval = span(*scores.intervals.get("balanced_accuracy", (None, None)))
    around = f" (95 % interval {interval})" if interval else ""
    mean = many.report.get("balanced_accuracy") if many else None
    other = ""
    if many and mean:
        other = (
            f"; {percent(mean.mean)} % ({span(mean.low, mean.high)}) is the mean of "
            f"{len(many.seeds)} trainings"
        )
    return f"{seen}{around}{other}."


def _against(subject: Subject) -> Iterator[str]:
    """What is certain against the dense models, over seeds."""
    names = {
        "base": "the base model that it was made from",
        "wider": "a wider dense model of about its size",
    }
    for reference, name in names.items():
        versus = subject.over_seeds.versus.get(reference, {}) if subject.over_seeds else {}
        told = [
            f"{'better' if versus[key].better else 'worse'} in {measure.label.lower()} by "
            f"{percent(abs(versus[key].difference or 0.0))} points"
            for key, measure in MEASURES.items()
            if key in versus and versus[key].better is not None and key in HEADLINE
        ]
        if versus:
            rest = f"{', '.join(told)}; nothing else is certain" if told else "nothing is certain"
            yield f"Against {name}: {rest}."


def _measures(subject: Subject) -> Iterator[tuple[str, str, str, str, str]]:
    """Label, this checkpoint, its interval, mean over seeds, its interval."""
    scores, many = subject.scores, subject.over_seeds
    bounds = {**scores.intervals}
    if "fairness" in bounds:  # it is of the true fairness, which the debiased one estimates
        bounds["fairness_debiased"] = bounds.pop("fairness")
    for key, measure in MEASURES.items():
        value = getattr(scores, key)
        if value is None or key == "fairness_sum":
            continue
        mean = many.report.get(key) if many else None
        yield (
            f"{measure.label}, {'%' if measure.unit == '%' else 'points'}",
            percent(value),
            span(*bounds.get(key, (None, None))),
            percent(mean.mean) if mean else "",
            span(mean.low, mean.high) if mean else "",
        )


def _groups(subject: Subject) -> Iterator[tuple[str, ...]]:
    """Tone, images, this checkpoint with interval, mean over seeds with interval, a remark."""
    many = {g.group: g for g in subject.over_seeds.groups} if subject.over_seeds else {}
    for group in subject.scores.groups:
        mean = many.get(group.group)
        yield (
            str(group.group),
            str(group.n),
            f"{percent(group.accuracy)} ({span(group.low, group.high)})",
            f"{percent(mean.mean)} ({span(mean.low, mean.high)})" if mean else "",
            "too few images" if group.too_few else "",
        )


def _lights(subject: Subject) -> Iterator[tuple[str, ...]]:
    many = {x.lighting: x for x in subject.over_seeds.lights} if subject.over_seeds else {}
    for light in subject.scores.lights:
        mean = many.get(light.lighting)
        interval = span(light.low, light.high)
        yield (
            LIGHT_LABELS.get(light.lighting, light.lighting),
            str(light.n),
            f"{percent(light.balanced_accuracy)}{f' ({interval})' if interval else ''}",
            f"{percent(mean.mean)} ({span(mean.low, mean.high)})" if mean else "",
        )


def _floor(subject: Subject) -> dict[str, str] | None:
    scores = subject.scores
    if scores.noise_floor_mean is None or scores.fairness is None:
        return None
    return {
        "fairness": percent(scores.fairness),
        "mean": percent(scores.noise_floor_mean),
        "low": percent(scores.noise_floor_low),
        "p": probability(scores.fairness_p_value),
    }


def _training(subject: Subject) -> Iterator[tuple[str, str]]:
    """What was done, in the order in which it was done."""
    settings, stored = subject.settings, subject.stored
    if subject.kind == "prune":
        yield "Before pruning", "The training of the pruned checkpoint is not known to this run."
    else:
        yield "Scheme", f"{settings.get('scheme', 'unknown')}{_changed(settings)}"
        yield "Epochs", _epochs(subject)
        yield "Start", _start(subject)
    if subject.seed is not None:
        yield "Seed", f"{subject.seed}{_of_seeds(subject)}"
    yield "Image size", f"{stored.image_size} × {stored.image_size} pixels"
    yield (
        "Decision threshold",
        f"{stored.threshold:.4g}, the best one on the validation images",
    )
    if subject.kind == "search":
        yield (
            "How it was found",
            f"One of {settings.get('trials', '?')} architectures that a search judged "
            f"(strategy {settings.get('strategy', 'unknown')}, sampler "
            f"{settings.get('sampler', 'unknown')}) by the search half of the test images",
        )
    if subject.pruning is not None:
        origin = stored.extra.get("pruned_from", "a larger model")
        kept = subject.pruning.kept
        yield (
            "Pruning",
            f"{kept} {'expert' if kept == 1 else 'experts'} removed from {origin}, as long as the "
            "qualities on the search half held",
        )
        if tuned := stored.extra.get("fine_tuned_epochs"):
            yield "Training after pruning", f"{tuned} epochs"


def _changed(settings: Any) -> str:
    told = [
        f"{name.replace('_', ' ')} {settings[name]}"
        for name in ("batch_size", "learning_rate", "weight_decay", "augmentation", "router")
        if settings.get(name) is not None
    ]
    return f" ({', '.join(told)})" if told else ""


def _epochs(subject: Subject) -> str:
    settings = subject.settings
    if subject.kind == "train":
        return _count(settings.get("epochs"))
    return (
        f"{_count(settings.get('parent_epochs'))} as a dense model, "
        f"{_count(settings.get('finalist_epochs'))} with its experts"
    )


def _count(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "an unknown number"


def _start(subject: Subject) -> str:
    if subject.pretrained is True:
        return "timm's published ImageNet weights"
    if subject.pretrained:
        return "a local file of pretrained weights"
    if subject.kind == "train" and subject.settings.get("parent"):
        return "a dense model that was trained before; each expert is a copy of its network"
    first = "new random weights"
    return first if subject.kind == "train" else f"{first}; each expert is a copy of the dense FFN"


def _of_seeds(subject: Subject) -> str:
    if subject.over_seeds is None:
        return ""
    return f" (trained with {len(subject.over_seeds.seeds)}, each from its own dense model)"
