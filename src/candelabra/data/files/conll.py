"""Reader of CoNLL files: a word and its tag in each line, and blank lines between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from candelabra.data.files.conll_checks import ColumnChecks, Lines, Seen
from candelabra.data.files.layout import Layout
from candelabra.data.files.table import BadRowError, Table, at_lines, shown
from candelabra.data.files.text_files import numbered_lines, read_text
from candelabra.data.schemes import AUTO, BIO, all_tags, converted, recognized

DOCUMENT = "-DOCSTART-"
SPACE = " \t\r\f\v"
"""Characters that separate words; no-break and other Unicode spaces are part of a word."""
SAYS = re.compile(r"#\s*[\w.:-]+(?: [\w.:-]+)*\s*=|#\s*(?:begin|end) document|#\s+id\s")
"""Beginning of a comment, such as `# sent_id = 1`, `# id 7fa1`, `#begin document (a)`."""


def read_conll(path: Path, layout: Layout) -> Table:
    """Read a CoNLL file into the columns `tokens` and `tags`, one row per sentence.

    A sentence with a line that has no word or no tag becomes a fault of its row. Tags of other
    schemes are converted to BIO.

    Args:
        path: File.
        layout: Its columns, comments and scheme.

    Raises:
        DataError: The word column holds no words, or the tag column is not certain.
    """
    text, seen = read_text(path), Seen()
    table = _rows(path, _sentences(text, layout.comment), layout, seen)
    if seen.empty and seen.narrowest > 2:
        # A tab at each line's end makes one more column, which is empty.
        cut = ((n, [line[:-1] for line in lines]) for n, lines in _sentences(text, layout.comment))
        table = _rows(path, cut, layout, seen := Seen())
    tokens, tags = table.columns["tokens"], table.columns["tags"]
    faults = dict(table.faults)
    checks = ColumnChecks(path, layout, seen, lambda: _sentences(text, layout.comment))
    checks.check([row for row in tokens if row], [row for row in tags if row])
    scheme = layout.scheme
    if scheme == AUTO:
        scheme = recognized([row for row in tags if row])
    if scheme == BIO:
        return replace(table, scheme=BIO)
    bio, invalid = converted(tags, scheme)
    note = f"its tags are {scheme.upper()}; they are converted to BIO"
    columns = {"tokens": tokens, "tags": bio}
    return replace(table, columns=columns, faults={**faults, **invalid}, note=note, scheme=BIO)


def _rows(path: Path, sentences: Iterable[Lines], layout: Layout, seen: Seen) -> Table:
    """Return words and tags of the sentences, and fill in `seen`."""
    word, tag = layout.word_and_tag
    tokens: list[list[str] | None] = []
    tags: list[list[str] | None] = []
    faults: dict[int, BadRowError] = {}
    starts = []
    for start, lines in sentences:
        seen.add(lines)
        starts.append(start)
        try:
            tokens.append([line[word] for line in lines])
            tags.append([line[tag] for line in lines])
            whole = min(map(len, lines)) > 1
        except IndexError:
            whole = False
        if not whole:
            del tokens[len(starts) - 1 :], tags[len(starts) - 1 :]
            faults[len(tokens)] = _fault(lines, max(word, tag, -word - 1, -tag - 1, 1) + 1)
            tokens.append(None)
            tags.append(None)
    columns: dict[str, list[Any]] = {"tokens": tokens, "tags": tags}
    return Table(columns, str(path), at_lines(starts), faults)


def _fault(lines: Sequence[Sequence[str]], needed: int) -> BadRowError:
    short = next(line for line in lines if len(line) < needed)
    found = shown(" ".join(short))
    return BadRowError("unequal lengths", f"a word and its tag expected, found {found}")


def _sentences(text: str, comment: str | None) -> Iterator[Lines]:
    start = 1
    sentence: list[list[str]] = []
    comments: list[tuple[int, str]] = []
    for number, line in numbered_lines(text):
        if not line or line.startswith(DOCUMENT) or not line.strip(SPACE):
            if not sentence:
                start, sentence = _words_alone(comments)
            if sentence:
                yield start, sentence
                sentence = []
            comments = []
        elif comment and line.startswith(comment):
            continue
        elif line[0] == "#" and comment is None and not sentence and not _is_word(line):
            comments.append((number, line))
        else:
            if not sentence:
                start, sentence = _words_among(comments, line) if comments else (0, [])
                start = start or number
                comments = []
            sentence.append(_cells(line))
    if not sentence:
        start, sentence = _words_alone(comments)
    if sentence:
        yield start, sentence


def _is_word(line: str) -> bool:
    """Return whether a line that starts with `#` certainly is a word and its tag."""
    cells = _cells(line)
    return cells[0] == "#" and len(cells) == 2 and all_tags(cells[1:])


def _words_among(comments: Sequence[tuple[int, str]], line: str) -> tuple[int, list[list[str]]]:
    """Return the lines before the first word that are words too, and where they start.

    A line that starts with `#` is a comment if it says so, as in `# sent_id = 1`, or has another
    number of cells than the line of the first word.
    """
    width, start = len(_cells(line)), 0
    kept: list[list[str]] = []
    for number, each in comments:
        cells = _cells(each)
        if SAYS.match(each) or len(cells) != width:
            kept, start = [], 0
        else:
            start = start or number
            kept.append(cells)
    return start, kept


def _words_alone(comments: Sequence[tuple[int, str]]) -> tuple[int, list[list[str]]]:
    """Return the lines of a sentence whose words all start with `#`, and where they start.

    Such a line ends in a tag, and does not say that it is a comment.
    """
    lines = [(number, _cells(each)) for number, each in comments if not SAYS.match(each)]
    kept = [(number, cells) for number, cells in lines if len(cells) > 1 and all_tags(cells[-1:])]
    return (kept[0][0] if kept else 0), [cells for _, cells in kept]


def _cells(line: str) -> list[str]:
    if "\t" in line:
        cells = line.split("\t")
        return [cell.strip(" ") for cell in cells] if " " in line else cells
    cells = line.split(" ")
    return [cell for cell in cells if cell] if "" in cells else cells
