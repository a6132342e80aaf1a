"""Parts that pages are made of: tables, pictures with captions, and lists of facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from candelabra.report.drawing import Picture

Cells = dict[str, str]
"""One row of a table: column -> cell."""


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        title: Title above it.
        rows: Its rows, which have the same columns.
        words: Columns that are set to the left.
        prose: Columns of long texts, which get the whole width of a phone.
        note: Explanation below the title.
        folded: Whether the reader opens it.
    """

    title: str
    rows: Sequence[Cells]
    words: Sequence[str] = ()
    prose: Sequence[str] = ()
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture with its title and caption."""

    title: str
    picture: Picture
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """One section of a page.

    Attributes:
        title: Its heading.
        note: Explanation below the heading.
        warnings: What is missing or wrong.
        figures: Its pictures.
        tables: Its tables.
        facts: Name and value of each fact.
        command: A command line.
    """

    title: str
    note: str = ""
    warnings: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    facts: Sequence[tuple[str, str]] = ()
    command: str = ""


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        kind: What it is about, such as `run`.
        title: Its heading.
        answer: The most important fact, in a sentence.
        summary: What else a reader should know first.
        warnings: What is missing or wrong.
        sections: Its sections in order.
    """

    kind: str
    title: str
    answer: str
    summary: str = ""
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = ()

    @property
    def pictures(self) -> list[Picture]:
        """Return all pictures of the page."""
        return [figure.picture for section in self.sections for figure in section.figures]
