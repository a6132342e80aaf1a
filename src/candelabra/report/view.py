"""Parts of a page: tables, pictures with captions, and lists of facts."""

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
        title: Title above the table.
        rows: Rows, which all have the same columns.
        words: Columns that are aligned to the left.
        prose: Columns with long texts. On a phone they take the whole width.
        note: Explanation below the title.
        folded: Whether the table is closed until the reader opens it.
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
        title: Heading.
        note: Explanation below the heading.
        warnings: Sentences about what is missing or wrong.
        figures: Pictures.
        tables: Tables.
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
        kind: Kind of the folder, such as `run`.
        title: Heading.
        answer: The most important fact, in a sentence.
        summary: Further facts for the top of the page.
        warnings: Sentences about what is missing or wrong.
        sections: Sections in order.
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
