"""Format options of data files that the file extension does not determine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Format options of a file or folder.

    Attributes:
        tag_first: Whether the tag is the first column of a CoNLL/BIO file, as in the files of the
            MIT Movie Corpus, instead of the last.
        quoted: Whether csv or tsv cells may be quoted; `None` means yes for csv and no for tsv.
        subfolders: For a folder, the sub-folders that are read; a mapping also sets the label of
            each. `None` reads every sub-folder and uses its name as the label.
    """

    tag_first: bool = False
    quoted: bool | None = None
    subfolders: Sequence[str] | Mapping[str, str] | None = None
