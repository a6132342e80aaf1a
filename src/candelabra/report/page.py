"""Write pages as one HTML file and as Markdown, with all texts of the data escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from candelabra.errors import printable
from candelabra.files import write_text
from candelabra.report.drawing import Picture

PACKAGE = "candelabra.report"
_SPECIAL = re.compile(r"([\\`*_{}\[\]|~$])")


def write_page(
    folder: Path,
    template: str,
    pictures: Sequence[Picture],
    *,
    package: str = PACKAGE,
    **content: Any,
) -> None:
    """Write `report.html`, `report.md`, and the pictures for the Markdown, each atomically.

    Args:
        folder: Folder of the files, created if it does not exist.
        template: Name of the two templates without suffix.
        pictures: Pictures of the page. The HTML contains them, the Markdown links to their files.
        package: Package with the templates.
        content: Variables of the templates.

    Raises:
        OSError: A file cannot be written.
    """
    for picture in pictures:
        write_text(folder / "pictures" / f"{picture.name}.svg", picture.svg)
    write_text(folder / "report.md", markdown_page(template, package=package, **content))
    write_text(folder / "report.html", html_page(template, package=package, **content))


def html_page(template: str, *, package: str = PACKAGE, **content: Any) -> str:
    """Return a page as one HTML file that has no scripts and loads no other files.

    Args:
        template: Name of the template without suffix.
        package: Package with the template.
        content: Variables of the template.
    """
    environment = _environment(package, finalize=_html_text)
    style, _, _ = environment.loader.get_source(environment, "style.css")  # type: ignore[union-attr]
    page = environment.get_template(f"{template}.html")
    return page.render(style=Markup(style), **content)


def markdown_page(template: str, *, package: str = PACKAGE, **content: Any) -> str:
    """Return a page as Markdown.

    Args:
        template: Name of the template without suffix.
        package: Package with the template.
        content: Variables of the template.
    """
    environment = _environment(package, finalize=_markdown_text)
    text = environment.get_template(f"{template}.md").render(**content)
    return re.sub(r"\n{3,}", "\n\n", text)


def _environment(package: str, **settings: Any) -> Environment:
    packages = dict.fromkeys((package, PACKAGE))
    return Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in packages]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
        **settings,
    )


def _html_text(value: Any) -> Any:
    """Escape the control characters of a text; the environment escapes its markup."""
    return value if isinstance(value, Markup) else printable(str(value))


def _markdown_text(value: Any) -> Any:
    """Escape the markup of Markdown and HTML, and join the text into one line."""
    if isinstance(value, Markup):
        return value
    line = " ".join(printable(str(value)).split())
    return Markup(_SPECIAL.sub(r"\\\1", escape(line, quote=False)))
