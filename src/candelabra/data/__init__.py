"""From a source to batches: reading, checking, splitting, tokenising, balancing."""

from candelabra.data.nli import Nli
from candelabra.data.sources import Files, FilesOrHub, Sample

__all__ = [
    "Files",
    "FilesOrHub",
    "Nli",
    "Sample",
]
