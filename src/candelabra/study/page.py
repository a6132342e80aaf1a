"""Files of a study: `study.json`, `times.json`, `report.md`, `report.html` and its pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from candelabra.errors import printable
from candelabra.files import write_json, write_text
from candelabra.study.result import StudyResult
from candelabra.study.view import View, view_of

PACKAGE = "candelabra.study"
_SPECIAL = re.compile(r"([\\`*_{}\[\]|~$])")


def write_study(result: StudyResult, folder: Path) -> View:
    """Write all files of a study, each whole or not at all.

    `times.json` has the durations, so that `study.json` is the same whenever the runs' scores are.

    Args:
        result: The compared arms.
        folder: Folder of the study, made if it does not exist.

    Returns:
        The content of the page.

    Raises:
        OSError: A file cannot be written.
    """
    view = view_of(result)
    write_json(folder / "study.json", result.plain())
    write_json(folder / "times.json", _times(result))
    for picture in view.pictures:
        write_text(folder / "pictures" / f"{picture.name}.svg", picture.svg)
    write_text(folder / "report.md", markdown(view))
    write_text(folder / "report.html", html(view))
    return view


def html(view: View) -> str:
    """Return the page as one HTML file, in which every text of the data is escaped."""
    environment = _environment(finalize=_html_text)
    environment.autoescape = True
    style, _, _ = environment.loader.get_source(environment, "style.css")  # type: ignore[union-attr]
    return environment.get_template("report.html").render(view=view, style=Markup(style))


def markdown(view: View) -> str:
    """Return the page as Markdown, in which every text of the data is escaped."""
    environment = _environment(finalize=_markdown_text)
    text = environment.get_template("report.md").render(view=view)
    return re.sub(r"\n{3,}", "\n\n", text)


def _environment(**settings: Any) -> Environment:
    return Environment(
        loader=PackageLoader(PACKAGE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
        **settings,
    )


def _html_text(value: Any) -> Any:
    """Show control characters of a text as escapes; the environment escapes its markup."""
    return value if isinstance(value, Markup) else printable(str(value))


def _markdown_text(value: Any) -> Any:
    """Escape what Markdown or HTML would read as markup, and keep the text in one line."""
    if isinstance(value, Markup):
        return value
    line = " ".join(printable(str(value)).split())
    return Markup(_SPECIAL.sub(r"\\\1", escape(line, quote=False)))


def _times(result: StudyResult) -> Mapping[str, Any]:
    costs = {arm.name: arm.cost() for arm in result.study.arms}
    return {
        name: {"training_seconds": cost.training_seconds, "ms_per_text": cost.ms_per_text}
        for name, cost in costs.items()
    }
