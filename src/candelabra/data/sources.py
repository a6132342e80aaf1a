"""Where examples come from. A task's yaml names one of these classes as its `source`.

Each has `read(split)`, which gives the rows or None if there is no such split, and `check()`, which
is quick, imports nothing heavy and is called before any long work.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from candelabra.data.layout import Layout
from candelabra.data.readers import check_path, read_table
from candelabra.data.table import Table
from candelabra.errors import DataError, nearest

SPLITS = ("train", "validation", "test")
SAMPLES = ("reviews", "questions", "mentions", "pairs")
HUB_BUILDERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}


class Source(Protocol):
    """What a task needs of a source."""

    def read(self, split: str) -> Table | None:
        """The rows of `train`, `validation` or `test`; None if the source has no such split."""

    def check(self) -> None:
        """Raises DataError if it is already known that `read` would fail."""


@dataclass(frozen=True)
class Sample:
    """The sample that comes with the package, written by a generator for this project.

    Attributes:
        name: `reviews` (columns text, label), `questions` (columns tokens, tags), `mentions`
            (columns text, labels, number) or `pairs` (columns text1, text2, label).
    """

    name: str

    def read(self, split: str) -> Table | None:
        """The rows of a split."""
        from candelabra.data import sample

        self.check()
        if split not in sample.SIZES:
            return None
        return Table(getattr(sample, self.name)(split), where=f"sample {self.name} ({split})")

    def check(self) -> None:
        """Raises DataError if there is no sample of that name."""
        if self.name not in SAMPLES:
            options = ", ".join(SAMPLES)
            raise DataError(
                f"sample {self.name!r}: no such sample; there are {options}"
                f"{nearest(self.name, SAMPLES)}"
            )


@dataclass(frozen=True)
class Files:
    """Files or folder trees, one for each split.

    Attributes:
        train: Path of the train split; the extension says the format.
        validation: Path of the validation split, if there is one.
        test: Path of the test split, if there is one.
        folder: What the paths are relative to; None: the working directory.
        tag_first: In CoNLL/BIO text, the tag stands before the word.
        quoted: Quotes delimit csv/tsv cells; None: in csv yes, in tsv no.
        subfolders: In a folder tree, the sub-folders that count; a mapping also names their labels.
    """

    train: str
    validation: str | None = None
    test: str | None = None
    folder: str | None = None
    tag_first: bool = False
    quoted: bool | None = None
    subfolders: Sequence[str] | Mapping[str, str] | None = None

    def read(self, split: str) -> Table | None:
        """The rows of a split."""
        path = self.path(split)
        layout = Layout(self.tag_first, self.quoted, self.subfolders)
        return None if path is None else read_table(path, layout)

    def check(self) -> None:
        """Raises DataError if a file is missing or has an extension that we do not read."""
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

    def path(self, split: str) -> Path | None:
        """The file of a split."""
        name = {"train": self.train, "validation": self.validation, "test": self.test}.get(split)
        return None if name is None else Path(self.folder or "", name).expanduser()


@dataclass(frozen=True)
class Hub:
    """A data set of the Hugging Face Hub, read by the `datasets` library.

    Attributes:
        path: The data set, such as `stanfordnlp/imdb`.
        revision: Commit or tag; pinned, a run stays repeatable.
        name: The data set's configuration, if it has several.
        splits: Our split -> its split.
        data_files: Our split -> a file in the repository. For data sets that come with a script,
            which `datasets` no longer runs: their files are read directly.
    """

    path: str
    revision: str | None = None
    name: str | None = None
    splits: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "test": "test"})
    data_files: Mapping[str, str] | None = None

    def read(self, split: str) -> Table | None:
        """The rows of a split; downloads them if they are not in the cache.

        Raises:
            DataError: The Hub was not reachable, or has no such data set, revision or split.
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
        """What `datasets.load_dataset` is called with for a split."""
        if self.data_files is None:
            names = {"path": self.path, "name": self.name, "revision": self.revision}
            return {**names, "split": self.splits[split]}
        file = self.data_files[split]
        at_revision = f"@{self.revision}" if self.revision else ""
        url = f"hf://datasets/{self.path}{at_revision}/{file}"
        builder = HUB_BUILDERS[PurePosixPath(file).suffix]
        return {"path": builder, "data_files": {split: url}, "split": split}

    def check(self) -> None:
        """Raises DataError if `datasets` is not installed, or a split or file cannot be right."""
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
    """Files where a folder is given, else the Hub.

    Attributes:
        files: Split -> path below `data_dir`.
        hub: Arguments of `Hub`.
        data_dir: Folder of the files; None: the Hub.
    """

    files: Mapping[str, str]
    hub: Mapping[str, Any]
    data_dir: str | None = None

    def read(self, split: str) -> Table | None:
        """The rows of a split."""
        self.check()
        return self.source.read(split)

    def check(self) -> None:
        """Raises DataError if `data_dir` lacks one of the files."""
        if self.data_dir is None:
            return self.source.check()
        _only_splits("files", self.files)
        folder = Path(self.data_dir).expanduser()
        if not folder.is_dir():
            raise DataError(f"data_dir={self.data_dir}: no such folder")
        for split, file in self.files.items():
            # Of an absolute path `Files` tells, without a word of data_dir.
            if not (folder / file).exists() and not Path(file).is_absolute():
                raise DataError(f"data_dir={self.data_dir}: missing file {file!r} ({split})")
        return self.source.check()

    @property
    def source(self) -> Source:
        """The source that is used."""
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
