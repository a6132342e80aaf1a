"""Reading of the files of a stored folder, which may come from somebody else.

A file that is missing is no error. One that leads out of the folder, is no plain file, is larger
than any real one, or is damaged raises one `DataError`.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from candelabra.bundle.folder import read_json
from candelabra.errors import DataError

MIB = 2**20
MOST_BYTES = {".json": 64 * MIB, ".yaml": 4 * MIB, ".csv": 512 * MIB, ".jsonl": 2048 * MIB}
"""Size above which a file of this kind is refused."""
MOST_LINE = 16 * MIB
"""Length of a line of a predictions file above which it is refused."""


class PlainLoader(yaml.SafeLoader):
    """Loader that refuses references, by which a short file can have a huge content."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node, or raise a YAMLError if it is a reference."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds references")
        return super().compose_node(parent, index)


def stored_file(folder: Path, name: str) -> Path | None:
    """Return the path of a file in a stored folder, or `None` if there is none.

    Args:
        folder: The stored folder.
        name: Path of the file, relative to the folder.

    Raises:
        DataError: It is a link out of the folder, not a file, or too large, or its name is none.
    """
    path = folder / name
    try:
        inside, exists = path.resolve().is_relative_to(folder.resolve()), path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, or no name of a file
        raise DataError(f"{folder}: {name!r} leads nowhere ({_reason(error)})") from error
    if not inside:
        raise DataError(f"{path}: a link out of the folder")
    if not exists:
        return None
    if not path.is_file():  # opening a pipe would wait forever
        raise DataError(f"{path}: must be a file")
    most, size = MOST_BYTES[path.suffix], path.stat().st_size
    if size > most:
        raise DataError(f"{path}: has {size:,} bytes, more than the {most:,} of any real one")
    return path


def _reason(error: Exception) -> str:
    """Return the reason of an error, without the name of the file that an OSError repeats."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def stored_json(folder: Path, name: str) -> dict[str, Any]:
    """Return a JSON object, or an empty one if there is no such file."""
    path = stored_file(folder, name)
    return {} if path is None else read_json(path)


def stored_numbers(folder: Path, name: str) -> dict[str, float]:
    """Return the finite numbers of a JSON object by key, such as those of `metrics.json`."""
    found = stored_json(folder, name)
    return {key: float(value) for key, value in found.items() if is_number(value)}


def stored_yaml(folder: Path, name: str) -> dict[str, Any]:
    """Return the mapping in a yaml, or an empty one if there is no such file."""
    path = stored_file(folder, name)
    if path is None:
        return {}
    try:
        # A subclass of the safe loader: it makes plain values.
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=PlainLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: must hold settings by name, found {type(found).__name__}")
    return found


def stored_history(folder: Path, name: str = "metrics.csv") -> list[dict[str, float]]:
    """Return the rows of a table of numbers, without empty cells."""
    path = stored_file(folder, name)
    if path is None:
        return []
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as stream:
            return [
                {key: float(cell) for key, cell in row.items() if key and is_text_of_number(cell)}
                for row in csv.DictReader(stream)
            ]
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def stored_lines(folder: Path, name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON object of each line; nothing if there is no such file."""
    path = stored_file(folder, name)
    if path is None:
        return
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(MOST_LINE + 1), b""), 1):
                if len(line) > MOST_LINE:
                    raise DataError(f"{path}, line {number}: longer than {MOST_LINE:,} bytes")
                found = json.loads(line)
                if not isinstance(found, dict):
                    raise DataError(f"{path}, line {number}: must be a JSON object")
                yield found
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: has a line that is not JSON ({error})") from error


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number, and no truth value."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def is_text_of_number(cell: Any) -> bool:
    """Return whether a cell of a table is a finite number."""
    try:
        return math.isfinite(float(cell))
    except (TypeError, ValueError, OverflowError):
        return False
