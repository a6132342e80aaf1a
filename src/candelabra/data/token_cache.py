"""Arrays of token ids kept in files, whose content is verified whenever they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from candelabra.files import drafted, remove_drafts

CACHED = "[0-9a-f]" * 32 + "-*.safetensors"
"""Pattern of the names of the files."""
SUM = "sha256"
"""Key of the checksum in the file's metadata."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file.

    Raises:
        ValueError: The file is damaged, or none of ours.
        OSError: It cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError("it is no file")
    try:
        with safe_open(path, "numpy") as stored:
            expected = (stored.metadata() or {}).get(SUM)
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
    if _checksum(arrays) != expected:
        raise ValueError("its content is not that of its checksum")
    return arrays


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays and their checksum, whole or not at all.

    Raises:
        OSError: The file cannot be written.
        SafetensorError: The disk is full.
    """
    from safetensors.numpy import save_file

    remove_drafts(path.parent, [CACHED])
    with drafted(path) as draft:
        save_file(dict(arrays), draft, metadata={SUM: _checksum(arrays)})


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of names, types, shapes and values."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.str} {array.shape};".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
