"""Data sources: the classes that the `source` of a task's yaml may name.

A source has two methods. `read(split)` returns the rows of a split, or `None` if the source has no
such split. `check()` finds configuration errors early: it is fast, imports no large library and
runs before any long computation.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from candelabra.data.file_source import SPLITS, Files
from candelabra.data.files.table import Table
from candelabra.errors import DataError, nearest

__all__ = ["SPLITS", "Files", "FilesOrHub", "Hub", "Sample", "Source"]

SAMPLES = ("reviews", "questions", "mentions", "pairs")
HUB_BUILDERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}


class Source(Protocol):
    """Interface of a data source."""

    def read(self, split: str) -> Table | None:
        """Return the rows of a split, or `None` if the source has no such split.

        Args:
            split: `train`, `validation` or `test`.
        """

    def check(self) -> None:
        """Check the settings and the existence of files, without reading rows.

        Raises:
            DataError: `read` would fail.
        """


@dataclass(frozen=True)
class Sample:
    """Source of the synthetic sample data that is part of the package.

    Attributes:
        name: Name of the data set: `reviews` (columns text, label), `questions` (columns tokens,
            tags), `mentions` (columns text, labels, number) or `pairs` (columns text1, text2,
            label).
    """

    name: str

    def read(self, split: str) -> Table | None:
        """Return the rows of a split, or `None` if there is no such split."""
        from candelabra.data import sample

        self.check()
        if split not in sample.SIZES:
            return None
        return Table(getattr(sample, self.name)(split), where=f"sample {self.name} ({split})")

    def check(self) -> None:
        """Check the name.

        Raises:
            DataError: There is no sample with this name.
        """
        if self.name not in SAMPLES:
            options = ", ".join(SAMPLES)
            raise DataError(
                f"source.name={self.name!r}: no such sample; there are {options}"
                f"{nearest(self.name, SAMPLES)}"
            )


@dataclass(frozen=True)
class Hub:
    """Source of a Hugging Face Hub data set, read with the library `datasets`.

    Attributes:
        path: Name of the data set, such as `stanfordnlp/imdb`.
        revision: Commit or tag; a fixed one makes runs reproducible.
        name: Configuration of the data set, if it has several.
        splits: Names of the splits in the data set, by `train`, `validation` and `test`.
        data_files: Files of the repository, by `train`, `validation` and `test`. They replace
            `splits` for data sets with a loading script, which `datasets` no longer supports.
    """

    path: str
    revision: str | None = None
    name: str | None = None
    splits: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "test": "test"})
    data_files: Mapping[str, str] | None = None

    def read(self, split: str) -> Table | None:
        """Return the rows of a split, downloaded unless they are cached.

        Returns:
            The rows, or `None` if the split is not configured.

        Raises:
            DataError: The Hub cannot be reached, or has no such data set, revision or split.
        """
        self.check()
        if split not in (self.splits if self.data_files is None else self.data_files):
            return None
        import datasets
        from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

        try:
            dataset = datasets.load_dataset(**self.arguments(split))
        except (ConnectionError, TimeoutError, httpx.TransportError) as error:
            raise DataError(
                f"Hub data set {self.path!r}: the Hub was not reachable ({error}); "
                "to read files instead, pass data_dir=FOLDER"
            ) from error
        except (
            OSError,
            ValueError,
            RuntimeError,
            httpx.HTTPError,
            datasets.exceptions.DatasetsError,
        ) as error:
            raise DataError(f"Hub data set {self.path!r} ({split}): {error}") from error
        return Table(dataset.to_dict(), where=f"Hub data set {self.path} ({split})")

    def arguments(self, split: str) -> dict[str, Any]:
        """Return the keyword arguments of `datasets.load_dataset` for a split."""
        if self.data_files is None:
            names = {"path": self.path, "name": self.name, "revision": self.revision}
            return {**names, "split": self.splits[split]}
        file = self.data_files[split]
        at_revision = f"@{self.revision}" if self.revision else ""
        url = f"hf://datasets/{self.path}{at_revision}/{file}"
        builder = HUB_BUILDERS[PurePosixPath(file).suffix]
        return {"path": builder, "data_files": {split: url}, "split": split}

    def check(self) -> None:
        """Check the settings and the installation of `datasets`.

        Raises:
            DataError: `datasets` is not installed, a split is unknown, `train` is missing, or a
                file has an unknown extension.
        """
        for given in (self.splits, self.data_files or {}):
            _only_splits(f"Hub data set {self.path!r}", given)
        if importlib.util.find_spec("datasets") is None:
            raise DataError(f"Hub data set {self.path!r}: the package `datasets` is not installed")
        for file in (self.data_files or {}).values():
            if PurePosixPath(file).suffix not in HUB_BUILDERS:
                known = ", ".join(HUB_BUILDERS)
                raise DataError(f"Hub data set {self.path!r}: {file!r} must end in one of {known}")


@dataclass(frozen=True)
class FilesOrHub:
    """Source that reads local files if `data_dir` is set, and otherwise the Hub.

    Attributes:
        files: Path of each split, relative to `data_dir`.
        hub: Arguments of `Hub`.
        data_dir: Folder of the files; `None` selects the Hub.
    """

    files: Mapping[str, str]
    hub: Mapping[str, Any]
    data_dir: str | None = None

    def read(self, split: str) -> Table | None:
        """Return the rows of a split, or `None` if the source has no such split.

        Raises:
            DataError: A file is missing, or the Hub cannot be reached.
        """
        self.check()
        return self.source.read(split)

    def check(self) -> None:
        """Check the settings of the source that is used.

        Raises:
            DataError: `data_dir` is not a folder or does not contain a file, or the check of the
                source fails.
        """
        if self.data_dir is None:
            return self.source.check()
        _only_splits("files", self.files)
        folder = Path(self.data_dir).expanduser()
        if not folder.is_dir():
            raise DataError(f"data_dir={self.data_dir}: no such folder")
        for split, file in self.files.items():
            # `Files` reports a missing absolute path, which is not relative to data_dir, and
            # checks patterns and lists.
            if not isinstance(file, str) or has_magic(file) or Path(file).is_absolute():
                continue
            if not (folder / file).exists():
                raise DataError(f"data_dir={self.data_dir}: missing file {file!r} ({split})")
        return self.source.check()

    @property
    def source(self) -> Source:
        """Return the source that `data_dir` selects."""
        if self.data_dir is None:
            return Hub(**dict(self.hub))
        arguments: dict[str, Any] = {**self.files, "folder": self.data_dir}
        return Files(**arguments)


def _only_splits(where: str, given: Mapping[str, str]) -> None:
    for split in given:
        if split not in SPLITS:
            raise DataError(f"{where}: {split!r} is none of {', '.join(SPLITS)}")
    if given and "train" not in given:
        raise DataError(f"{where}: no train split, only {', '.join(given)}")
