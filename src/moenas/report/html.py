"""The report: one self-contained HTML page made from a run folder alone."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from moenas.atomic import write_text
from moenas.console import logger
from moenas.report.audit.content import audit_content
from moenas.report.audit.results import read_audit
from moenas.report.compare.comparing import ComparedRuns
from moenas.report.compare.content import compare_content
from moenas.report.content import content
from moenas.report.measures import duration, millions, number, percent, size_of
from moenas.report.results import Results, read_results
from moenas.runs import RunFolder


def render(run: RunFolder) -> Path:
    """Write ``report.html``, which needs no other file and no network, and return its path.

    Parts that the run does not have are left out, and the page says so.

    Args:
        run: A run folder that exists.

    Raises:
        RunFolderError: A file is damaged, or there is nothing to report yet.
    """
    if run.read_config()["kind"] == "audit":
        audit = read_audit(run)
        for line in audit.lost:
            logger.warning("%s", line)
        text = fill("audit.html.j2", **audit_content(audit))
    else:
        text = page(read_results(run))
    write_text(run.report, text)
    return run.report


def render_comparison(compared: ComparedRuns, path: Path) -> Path:
    """Write the page that puts runs side by side, and return its path.

    Raises:
        RunFolderError: It cannot be written.
    """
    write_text(path, fill("compare.html.j2", **compare_content(compared)))
    return path


def page(results: Results) -> str:
    """Return the page of what a run folder holds.

    All text that comes from the run is escaped; the page's own content security policy forbids
    every request and every script but its own.
    """
    scripts = ("report.js", "trial_plots.js", "trials.js")
    return fill("report.html.j2", scripts=scripts, **content(results))


def fill(
    template: str,
    *,
    styles: Sequence[str] = ("report.css",),
    scripts: Sequence[str] = ("report.js",),
    **variables: Any,
) -> str:
    """Return a page of one file: its styles and scripts are in it, no other script may run.

    Args:
        template: File in ``templates/``.
        styles: Style sheets there.
        scripts: Scripts there.
        variables: Of the template.
    """
    script = "\n".join(map(_asset, scripts))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup("\n".join(map(_asset, styles))),  # noqa: S704 - our own files
            script=Markup(script),  # noqa: S704 - our own files
            script_hash=digest,
            **variables,
        )
    )


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("moenas.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "millions": millions,
        "number": number,
        "duration": duration,
        "bytes": size_of,
    }
    return environment


def _asset(name: str) -> str:
    return resources.files("moenas.report").joinpath("templates", name).read_text(encoding="utf-8")
