"""Write the files of a study: `study.json`, `times.json`, `report.md`, `report.html`, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from candelabra.files import write_json
from candelabra.report.page import html_page, markdown_page, write_page
from candelabra.study.result import StudyResult
from candelabra.study.view import View, view_of

PACKAGE = "candelabra.study"
TEMPLATE = "study"


def write_study(result: StudyResult, folder: Path) -> View:
    """Write all files of a study, each atomically.

    Durations are in `times.json`, so that equal scores give an equal `study.json`.

    Args:
        result: The compared arms.
        folder: Folder of the study, created if it does not exist.

    Returns:
        The content of the page.

    Raises:
        OSError: A file cannot be written.
    """
    view = view_of(result)
    write_json(folder / "study.json", result.plain())
    write_json(folder / "times.json", _times(result))
    write_page(folder, TEMPLATE, view.pictures, package=PACKAGE, view=view)
    return view


def html(view: View) -> str:
    """Return the page as one HTML file, with all texts of the data escaped."""
    return html_page(TEMPLATE, package=PACKAGE, view=view)


def markdown(view: View) -> str:
    """Return the page as Markdown, with all texts of the data escaped."""
    return markdown_page(TEMPLATE, package=PACKAGE, view=view)


def _times(result: StudyResult) -> Mapping[str, Any]:
    costs = {arm.name: arm.cost() for arm in result.study.arms}
    return {
        name: {"training_seconds": cost.training_seconds, "ms_per_text": cost.ms_per_text}
        for name, cost in costs.items()
    }
