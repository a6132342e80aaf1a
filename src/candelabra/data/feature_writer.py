"""Write the arrays of features row by row, since all of them may not fit into memory.

Shapes: R rows of an array, D encoder width.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

log = logging.getLogger(__name__)


class FeatureWriter:
    """Writer of the arrays of an entry, whose rows may come in any order.

    Files are written by calls and not through a memory map: if the disk is full, a call raises an
    error, whereas a memory map kills the process by the signal SIGBUS.

    Args:
        folder: Folder of the files.
        shapes: Shape (R, D) of each array.
        dtype: Type of the numbers.

    Attributes:
        computed_as: Name of the type in which the features were computed, one of `COMPUTED_AS`.

    Raises:
        OSError: If a file cannot be written.
    """

    computed_as = "float32"

    def __init__(
        self, folder: Path, shapes: Mapping[str, tuple[int, int]], dtype: np.dtype[Any]
    ) -> None:
        self.paths = {name: folder / f"{name}.npy" for name in shapes}
        self.dtype = dtype
        self._streams: dict[str, BinaryIO] = {}
        self._begins: dict[str, int] = {}
        for name, shape in shapes.items():
            stream = self._streams[name] = self.paths[name].open("wb")
            header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            self._begins[name] = stream.tell()

    def write(self, name: str, row: int, values_RD: np.ndarray) -> None:
        """Write consecutive rows of an array.

        Args:
            name: Name of the array.
            row: Index of the first row.
            values_RD: The rows.

        Raises:
            OverflowError: If a number is too large for the type.
            OSError: If the file cannot be written.
        """
        if np.abs(values_RD).max(initial=0) > np.finfo(self.dtype).max:
            raise OverflowError(f"a feature is too large for {self.dtype}")
        stream, stored_RD = self._streams[name], values_RD.astype(self.dtype)
        stream.seek(self._begins[name] + row * stored_RD.shape[1] * self.dtype.itemsize)
        stream.write(stored_RD.tobytes())

    def close(self) -> None:
        """Write what is still in memory, and close the files.

        Raises:
            OSError: If a file cannot be written.
        """
        for stream in self._streams.values():
            with stream:
                stream.flush()
                os.fsync(stream.fileno())

    def abandon(self) -> None:
        """Close the files without an error, after one of them could not be written."""
        for stream in self._streams.values():
            try:
                stream.close()
            except OSError as error:
                log.info("an unfinished file of features was closed: %s", error)
