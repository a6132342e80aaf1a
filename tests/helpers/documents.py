"""Links, anchors and command lines of the pages of the docs."""

from __future__ import annotations

import re
import shlex
from itertools import zip_longest
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PLACEHOLDERS = {
    r"(?<!task@)tasks\.NAME\b": "tasks.movie",
    r"\bstudy=NAME\b": "study=sharing",
    r"\bPRESET\b": "sample",
    r"=(NAME|OPTION)\b": "=sample_reviews",
    r"\s\[[^\]]*\]|\s\||\s\.\.\.": "",
}
"""What words in capitals stand for, as a pattern, and the notation of usage lines."""


def prose(page: Path) -> str:
    """Return the text of a page without its code blocks."""
    return FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Return the targets of a page's links that lead to no other site."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    targets += re.findall(r"""(?:src|href)=["']([^"']+)["']""", prose(page))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs both form them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings]
    return {re.sub(r" ", "-", heading) for heading in plain}


def command_lines(text: str) -> list[list[str]]:
    """Return the words of each `candelabra ...` in code, without the program's name."""
    text = text.replace("\\\n", " ")
    code = FENCE.findall(text) + re.findall(
        r"^ {4,}candelabra .+$", FENCE.sub("", text), re.MULTILINE
    )
    lines = re.findall(r"^ *(?:# |\$ )?candelabra (.+)$", "\n".join(code), re.MULTILINE)
    lines += re.findall(r"`candelabra ([a-z][^`\n]*)`", FENCE.sub("", text))
    return [words_of(line) for line in lines]


def opening_command(file: Path) -> list[str]:
    """Return the words of the command in the first lines of a yaml, without the program's name."""
    found = re.search(r"^# candelabra (.+)$", file.read_text(), re.MULTILINE)
    assert found is not None, file
    return words_of(found.group(1))


def words_of(line: str) -> list[str]:
    """Return the words of a command line, with something for each placeholder."""
    for pattern, text in PLACEHOLDERS.items():
        line = re.sub(pattern, text, line)
    return shlex.split(line, comments=True)


def trials(words: list[str]) -> list[list[str]]:
    """Return overrides of single runs in which every choice of a sweep occurs."""
    parser = OverridesParser.create()
    choices = []
    for word in words:
        if "=glob(" in word:
            continue  # conf/ decides its values
        override = parser.parse_override(word)
        if override.is_choice_sweep():
            key = word.partition("=")[0]
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        elif override.is_sweep_override():
            continue  # an interval
        else:
            choices.append([word])
    each = zip_longest(*choices)
    return [[word or own[0] for word, own in zip(row, choices, strict=True)] for row in each]
