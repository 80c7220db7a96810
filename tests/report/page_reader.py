"""Reads a report as a browser would see it: tags, attributes, texts, tables."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input"}


@dataclasses.dataclass
class Cell:
    label: str
    value: str | None = None
    text: str = ""


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.tables: dict[str, list[list[Cell]]] = {}
        self._rows: list[list[Cell]] = []
        self._cell: Cell | None = None
        self.feed(text)
        self.close()
        assert self.open == [], self.open  # every element is closed

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if values.get("id"):
            assert values["id"] not in self.ids, values["id"]
            self.ids.add(str(values["id"]))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "div" and values.get("role") == "region":
            self._rows = self.tables.setdefault(str(values["aria-label"]), [])
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th") and "data-label" in values:
            self._cell = Cell(str(values["data-label"]))
            self._rows[-1].append(self._cell)
        if tag == "data" and self._cell:
            self._cell.value = values["value"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            return
        self.text += data
        if self._cell and self.open and self.open[-1] == "data":
            self._cell.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]
