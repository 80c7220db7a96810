"""The first screen's drawing: what each skin tone gains."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from moenas.report.measures import percent
from moenas.report.results import ComparedModel
from moenas.report.svg import Drawing, Scale, nice_ticks
from moenas.report.theme import MONK_SCALE, Style


def tone_steps(
    model: ComparedModel, base: ComparedModel | None, styles: Mapping[str, Style], *, label: str
) -> Markup:
    """Draw for each tone a step from the base model's accuracy to the model's, over its colour.

    Args:
        model: Drawn with its mark; tones without an accuracy are left out.
        base: Where the steps begin; None draws the marks alone.
        styles: Style by model name.
        label: For screen readers.
    """
    own = {group.group: group.mean for group in model.groups if group.mean is not None}
    other = {g.group: g.mean for g in base.groups if g.mean is not None} if base else {}
    width, height, left, bottom, top = 460, 172, 34, 34, 10
    drawing = Drawing(width, height, label)
    values = [100 * value for value in (*own.values(), *(other[t] for t in own if t in other))]
    ticks = [tick for tick in nice_ticks(min(values), max(values), 4) if tick <= 100]
    y = Scale((ticks[0], max(*ticks, *values)), (height - bottom, top))
    for tick in ticks:
        drawing.line(left, y(tick), width, y(tick))
        drawing.text(left - 7, y(tick) + 4, f"{tick:g}", cls="tick small", anchor="end")
    pitch = (width - left) / len(own)
    style = styles[model.name]
    start_marks = drawing.add("g", cls="s-base")
    group = drawing.add("g", cls=f"series s-{style.slot}", data_model=model.name)
    for index, tone in enumerate(sorted(own)):
        x, at = left + (index + 0.5) * pitch, y(100 * own[tone])
        text = f"Tone {tone}: {model.name} {percent(own[tone])} %"
        if base and tone in other:
            start = y(100 * other[tone])
            gain = percent(own[tone] - other[tone], signed=True)
            text += f", {base.name} {percent(other[tone])} % ({gain} points)"
            drawing.line(x, start, x, at, cls="step", parent=group)
            drawing.marker(x, start, styles[base.name], size=3.6, parent=start_marks)
        drawing.marker(x, at, style, size=5.0, parent=group)
        swatch = min(pitch - 6, 34.0)
        drawing.add(
            "rect", cls="swatch", x=x - swatch / 2, y=height - bottom + 8.0, width=swatch,
            height=9.0, rx=2, fill=MONK_SCALE.get(tone, "#888888"),
        )  # fmt: skip
        drawing.text(x, height - 3, str(tone), cls="tick small")
        drawing.add(
            "rect", cls="hit", x=x - pitch / 2, y=0, width=pitch, height=height, data_tip=text
        )
    return drawing.markup()
