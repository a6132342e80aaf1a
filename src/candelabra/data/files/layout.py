"""Format options of data files that the file extension does not determine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from candelabra.data.schemes import AUTO, SCHEMES
from candelabra.errors import ConfigError, nearest

ENDINGS = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".conll", ".bio", ".iob", ".iob2")
"""Endings of the files that can be read."""


@dataclass(frozen=True)
class Layout:
    """Format options of a file or folder.

    Attributes:
        tag_first: Whether the tag is the first column of a CoNLL/BIO file and the word the second,
            as in the files of the MIT Movie Corpus.
        word_column: Column of the word in a CoNLL/BIO file, counted from 0; negative numbers count
            from the end. `None` is the first.
        tag_column: Column of the tag in a CoNLL/BIO file. `None` is the last.
        comment: Beginning of the comment lines of a CoNLL/BIO file; empty for none. `None` takes
            lines with `#` before the first word of a sentence that are no word and tag.
        scheme: Tagging scheme of the tags, one of `SCHEMES`; `auto` recognizes it.
        quoted: Whether csv or tsv cells may be quoted; `None` means yes for csv and no for tsv.
        subfolders: For a folder, the sub-folders that are read; a mapping also sets the label of
            each. `None` reads every sub-folder and uses its name as the label.
    """

    tag_first: bool = False
    word_column: int | None = None
    tag_column: int | None = None
    comment: str | None = None
    scheme: str = AUTO
    quoted: bool | None = None
    subfolders: Sequence[str] | Mapping[str, str] | None = None

    @property
    def word_and_tag(self) -> tuple[int, int]:
        """Return the columns of the word and of the tag."""
        word, tag = (1, 0) if self.tag_first else (0, -1)
        given = self.word_column, self.tag_column
        return word if given[0] is None else given[0], tag if given[1] is None else given[1]

    def check(self) -> None:
        """Check the settings of CoNLL/BIO files.

        Raises:
            ConfigError: A column is no whole number, or the scheme is unknown.
        """
        for key in ("word_column", "tag_column"):
            value = getattr(self, key)
            if value is not None and type(value) is not int:
                raise ConfigError(f"{key} must be a whole number, got {value!r}")
        if self.scheme not in SCHEMES:
            hint = nearest(str(self.scheme), SCHEMES)
            raise ConfigError(
                f"scheme must be one of {', '.join(SCHEMES)}, got {self.scheme!r}{hint}"
            )
