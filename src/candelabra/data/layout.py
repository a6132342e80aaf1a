"""How a file is laid out, as far as its extension does not tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """What an extension does not tell.

    Attributes:
        tag_first: In CoNLL/BIO text the tag stands before the word (the MIT files), not last.
        quoted: Quotes delimit csv/tsv cells. None: in csv yes, in tsv no, as is the custom.
        subfolders: In a folder tree, the sub-folders that are read; a mapping also says the label
            of each. None: every sub-folder, each the label of its texts.
    """

    tag_first: bool = False
    quoted: bool | None = None
    subfolders: Sequence[str] | Mapping[str, str] | None = None
