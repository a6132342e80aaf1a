"""Source of files on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from candelabra.data.files.layout import Layout
from candelabra.data.files.readers import check_no_address, check_path, read_tables
from candelabra.data.files.several import matching
from candelabra.data.files.table import Table
from candelabra.data.schemes import AUTO
from candelabra.errors import ConfigError, DataError

SPLITS = ("train", "validation", "test")
MOST_NAMED = 300
"""Most characters by which a message names the files of a split."""


@dataclass(frozen=True)
class Files:
    """Source of local files or folders, one or several for each split.

    Attributes:
        train: Path of the train split; the extension determines the format. Several files are a
            list of paths, or a pattern such as `train-*.parquet`.
        validation: Path of the validation split, if there is one.
        test: Path of the test split, if there is one.
        folder: Folder that the paths are relative to; `None` is the working directory.
        tag_first: Whether the tag precedes the word in a line of a CoNLL/BIO file.
        word_column: Column of the word in a CoNLL/BIO file, counted from 0; `None` is the first.
        tag_column: Column of the tag; `None` is the last, which is column -1.
        comment: Beginning of comment lines, as in `Layout`.
        scheme: Tagging scheme: `iob2`, `iob1`, `iobes`, `bilou`, `bmes`, `io`, or `auto`.
        quoted: Whether csv or tsv cells may be quoted; `None` means yes for csv and no for tsv.
        subfolders: For a folder, the sub-folders that are read; a mapping also sets the label of
            each.
    """

    train: str | Sequence[str]
    validation: str | Sequence[str] | None = None
    test: str | Sequence[str] | None = None
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
        paths = self.paths(split)
        if not paths:
            return None
        where = ", ".join(map(str, paths))
        return read_tables(paths, self.layout, where if len(where) < MOST_NAMED else str(paths[0]))

    def check(self) -> None:
        """Check that the files exist and have a known extension.

        Raises:
            ConfigError: A setting is invalid.
            DataError: A file is missing, or its extension is unknown.
        """
        self.layout.check()
        for split in SPLITS:
            for path in self.paths(split):
                files = matching(path)
                if self.folder is None and not path.is_absolute() and not files[0].exists():
                    raise DataError(
                        f"{path}: missing file ({split}): no folder was given, for instance by "
                        f"data_dir=FOLDER, and {Path.cwd()} has none"
                    )
                for file in files:
                    check_path(file)

    @property
    def layout(self) -> Layout:
        """Return the settings that the extension does not determine."""
        return Layout(**{key.name: getattr(self, key.name) for key in fields(Layout)})

    def paths(self, split: str) -> list[Path]:
        """Return the paths and patterns of a split; empty if none is configured.

        Raises:
            ConfigError: A path is no text.
            DataError: A path is an address.
        """
        given = {"train": self.train, "validation": self.validation, "test": self.test}.get(split)
        names = [given] if given is None or isinstance(given, str) else list(given)
        are_texts = all(isinstance(name, str) for name in names if given is not None)
        if not names or not are_texts or isinstance(given, Mapping):
            raise ConfigError(f"{split} must be a path or a list of paths, got {given!r}")
        for name in names:
            if name is not None:
                check_no_address(name)
        return [Path(self.folder or "", name).expanduser() for name in names if name is not None]
