"""Data sources: the classes that the `source` of a task's yaml may name.

A source has two methods. `read(split)` returns the rows of a split, or `None` if the source has no
such split. `check()` finds configuration errors early: it is fast, imports no large library and
runs before any long computation.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from candelabra.data.files.layout import Layout
from candelabra.data.files.readers import check_path, read_table
from candelabra.data.files.table import Table
from candelabra.data.schemes import AUTO
from candelabra.errors import DataError, nearest

SPLITS = ("train", "validation", "test")
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
                f"sample {self.name!r}: no such sample; there are {options}"
                f"{nearest(self.name, SAMPLES)}"
            )


@dataclass(frozen=True)
class Files:
    """Source of local files or folders, one for each split.

    Attributes:
        train: Path of the train split; the extension determines the format.
        validation: Path of the validation split, if there is one.
        test: Path of the test split, if there is one.
        folder: Folder that the paths are relative to; `None` is the working directory.
        tag_first: Whether the tag precedes the word in a line of a CoNLL/BIO file.
        word_column: Column of the word in a CoNLL/BIO file, counted from 0; `None` is the first.
        tag_column: Column of the tag; `None` is the last, which is column -1.
        comment: Beginning of comment lines, as in `Layout`.
        scheme: Tagging scheme: `iob2`, `iob1`, `iobes`, `bilou`, `io`, or `auto`.
        quoted: Whether csv or tsv cells may be quoted; `None` means yes for csv and no for tsv.
        subfolders: For a folder, the sub-folders that are read; a mapping also sets the label of
            each.
    """

    train: str
    validation: str | None = None
    test: str | None = None
    folder: str | None = None
    tag_first: bool = False
    word_column: int | None = None
    tag_column: int | None = None
    comment: str | None = None
    scheme: str = AUTO
    quoted: bool | None = None
    subfolders: Sequence[str] | Mapping[str, str] | None = None

    def read(self, split: str) -> Table | None:
        """Return the rows of a split, or `None` if no path is configured for it.

        Raises:
            DataError: The file cannot be read.
        """
        path = self.path(split)
        return None if path is None else read_table(path, self.layout)

    def check(self) -> None:
        """Check that the files exist and have a known extension.

        Raises:
            DataError: A file is missing, its extension is unknown, or a setting is invalid.
        """
        self.layout.check()
        for split in SPLITS:
            path = self.path(split)
            if path is None:
                continue
            if self.folder is None and not path.is_absolute() and not path.exists():
                raise DataError(
                    f"{path}: missing file ({split}): no folder was given, for instance by "
                    f"data_dir=FOLDER, and {Path.cwd()} has none"
                )
            check_path(path)

    @property
    def layout(self) -> Layout:
        """Return the settings that the extension does not determine."""
        return Layout(**{key.name: getattr(self, key.name) for key in fields(Layout)})

    def path(self, split: str) -> Path | None:
        """Return the path of a split, or `None` if none is configured."""
        name = {"train": self.train, "validation": self.validation, "test": self.test}.get(split)
        return None if name is None else Path(self.folder or "", name).expanduser()


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
            # `Files` reports a missing absolute path, which is not relative to data_dir.
            if not (folder / file).exists() and not Path(file).is_absolute():
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
