"""Checks of the columns of a CoNLL file: whether they hold the words and the tags."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from candelabra.data.bio import OUTSIDE
from candelabra.data.files.layout import Layout
from candelabra.data.files.table import shown
from candelabra.data.schemes import PREFIXED, all_tags
from candelabra.errors import DataError

NUMBER = re.compile(r"[0-9]+(?:[-.:][0-9]+)*")
"""Number of a word, or of a sentence and a word, such as `12`, `1-2` and `3.1`."""
CHUNKS = frozenset(["NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP"])
"""Types of phrases. A column of them next to the tags is usual, and no other level of entities."""
COUNTED = re.compile(r"([^0-9]+)([0-9]+)")
"""Mark and number of a word, such as `t12`."""
NO_TAGS = frozenset(["", "_", "-"])
"""Marks of a column whose tags are not given, as in the test file of a shared task."""
Lines = tuple[int, list[list[str]]]
"""Number of the first line of a sentence, and the cells of each of its lines."""


@dataclass
class Seen:
    """Facts about the lines of a file, for the checks of its columns.

    Attributes:
        narrowest: Smallest number of cells of a line.
        widest: Largest number of cells of a line.
        second_last: Different cells of the last column but one.
        empty: Whether the last column is empty in every line.
    """

    narrowest: int = sys.maxsize
    widest: int = 0
    second_last: set[str] = field(default_factory=set)
    empty: bool = True

    def add(self, lines: Sequence[Sequence[str]]) -> None:
        """Take the lines of a sentence into account."""
        widths = [len(line) for line in lines]
        self.narrowest = min(self.narrowest, *widths)
        self.widest = max(self.widest, *widths)
        if self.narrowest > 2:
            self.second_last.update([line[-2] for line in lines])
        self.empty = self.empty and not any(line[-1] for line in lines)


@dataclass(frozen=True)
class ColumnChecks:
    """Checks of the columns that are read as words and tags, unless they were chosen.

    Attributes:
        path: File.
        layout: Its settings.
        seen: Facts about its lines.
        sentences: Function that reads the lines again, to find a better column for a message.
    """

    path: Path
    layout: Layout
    seen: Seen
    sentences: Callable[[], Iterable[Lines]]

    def check(self, words: Sequence[list[str]], tags: Sequence[list[str]]) -> None:
        """Check the columns.

        Args:
            words: Words of each sentence.
            tags: Tags of each sentence.

        Raises:
            DataError: The words are no words, or the tags are none or not the only ones.
        """
        if not words:
            return
        self._check_widths()
        if not self._tag_is_chosen:
            self._check_order(words, tags)
            self._check_only_tags(tags)
            self._check_tags(tags)
        if self.layout.word_column is None and (found := self._no_words(words)):
            column = next((n for n, rows in self._others() if not self._no_words(rows)), None)
            way = ", and no other column holds words"
            if column is not None:
                way = (
                    f": set source.word_column={column} (columns count from 0), "
                    "the first behind it that holds words"
                )
            raise DataError(f"{self.path}: its word column {found}{way}")

    @property
    def _tag_is_chosen(self) -> bool:
        return self.layout.tag_column is not None or self.layout.tag_first

    def _others(self) -> Iterator[tuple[int, list[list[str]]]]:
        """Yield the number and the cells of each column between the words and the tags."""
        word, tag = self.layout.word_and_tag
        sentences = [lines for _, lines in self.sentences()]
        for column in range(word + 1, self.seen.narrowest):
            if column != tag % self.seen.narrowest:
                yield column, [[line[column] for line in lines] for lines in sentences]

    def _check_widths(self) -> None:
        """Refuse a file in which the first or the last column is not the same in all lines."""
        least, most = self.seen.narrowest, self.seen.widest
        # A line of a single cell is a bad row.
        if 1 < least < most and self.layout.word_column is None and not self._tag_is_chosen:
            raise DataError(
                f"{self.path}: its lines have {least} to {most} columns: choose those that are "
                "read by source.word_column and source.tag_column (columns count from 0)"
            )

    def _check_order(self, words: Sequence[list[str]], tags: Sequence[list[str]]) -> None:
        """Refuse a file whose words are tags, and whose tags are not."""
        held = set().union(*words)
        if self.layout.word_column is not None or held <= {OUTSIDE} or not all_tags(held):
            return
        if not all_tags(set().union(*tags)):
            raise DataError(
                f"{self.path}: its words are tags, such as {shown(min(held - {OUTSIDE}))}: set "
                "source.tag_first=true if the tag of each word comes first"
            )

    def _check_only_tags(self, tags: Sequence[list[str]]) -> None:
        """Refuse a file whose last two columns both hold tags."""
        narrowest = self.seen.narrowest
        if narrowest < 3 or narrowest - 2 == self.layout.word_and_tag[0]:
            return
        if _are_entities(self.seen.second_last) and all_tags(set().union(*tags)):
            raise DataError(
                f"{self.path}: its last two columns both hold tags, such as nested entities: "
                "choose one by source.tag_column=-1 (the last) or source.tag_column=-2"
            )

    def _check_tags(self, tags: Sequence[list[str]]) -> None:
        """Refuse a file whose last column holds no tag, such as a number, but another column."""
        held = set().union(*tags)
        if self.seen.narrowest < 3 or held <= NO_TAGS or any(all_tags([tag]) for tag in held):
            return
        for column, rows in self._others():
            if _are_entities(set().union(*rows)):
                raise DataError(
                    f"{self.path}: its last column holds no tag, found {shown(min(held))}: set "
                    f"source.tag_column={column} (columns count from 0) to read the tags"
                )

    def _no_words(self, rows: Sequence[list[str]]) -> str:
        """Return what a column holds instead of words, or an empty text."""
        first = rows[0][0]
        several = max(map(len, rows)) > 1
        if first in ("0", "1") and several:
            start = int(first)
            if all(row == [str(start + place) for place in range(len(row))] for row in rows):
                return f"only counts {first}, {start + 1}, ... in every sentence"
        # A corpus may have numbers or repeated words alone, but it has no other columns then.
        if self.seen.narrowest < 3:
            return ""
        if all(NUMBER.fullmatch(word) for row in rows for word in row):
            return "only numbers"
        if several and all(len(set(row)) == 1 for row in rows):
            return f"only repeats one text in each sentence, such as {shown(first)}"
        if several and all(set(row[1:]) <= NO_TAGS for row in rows):
            return f"only has a text at the start of each sentence, such as {shown(first)}"
        if several and all(map(_counts, rows)):
            return f"only counts, such as {shown(' '.join(rows[0][:2]))}"
        return ""


def _counts(row: Sequence[str]) -> bool:
    """Return whether the words of a sentence are one mark with the numbers from 0 or 1 on."""
    matches = [match for word in row if (match := COUNTED.fullmatch(word))]
    numbers = [int(match[2]) - place for place, match in enumerate(matches)]
    marks = {match[1] for match in matches}
    return len(matches) == len(row) and len(marks) == 1 and {*numbers} in ({0}, {1})


def _are_entities(cells: Set[str]) -> bool:
    """Return whether the cells of a column are tags of entities, and not of phrases alone."""
    matches = [PREFIXED.fullmatch(cell) for cell in cells - {OUTSIDE}]
    types = {match[2] for match in matches if match is not None}
    return None not in matches and bool(types) and not types <= CHUNKS
