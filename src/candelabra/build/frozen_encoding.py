"""Encode every text of a split once with a frozen encoder, and keep its output on the disk.

Shapes: B texts of a batch, L token positions, D encoder width.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from candelabra.data.collate import TokenizedSplit, longest_first
from candelabra.data.feature_files import FeatureFiles, StoredArrays
from candelabra.data.feature_writer import FeatureWriter
from candelabra.data.features import SplitFeatures, TextFeatures
from candelabra.hardware import half
from candelabra.model.encoder import Encoder
from candelabra.model.pooling import FIXED
from candelabra.model.prefix import FrozenPrefix, evaluating, output_of
from candelabra.records import Tokens
from candelabra.tables import Progress, show

log = logging.getLogger(__name__)

FORMAT = 2
"""Part of every key. It grows when the stored arrays change their meaning."""
BATCH_SIZE = 64
SINGLE: np.dtype[Any] = np.dtype(np.float32)


@dataclass(frozen=True)
class FeatureStore:
    """Where and how the features of a run are kept.

    Attributes:
        files: Their files.
        dtype: Type of the stored numbers.
        precision: Lightning's name of the precision of the run.
        device: Type of the device that computes them, such as `cpu`.
    """

    files: FeatureFiles
    dtype: np.dtype[Any]
    precision: str
    device: str


@dataclass(frozen=True)
class FrozenEncoding:
    """The encoding of a split by a frozen encoder, which is done once and kept in files.

    Attributes:
        store: Where and how features are kept.
        encoder: The encoder.
        prefix: Its frozen part.
        split: The split.
        pooling: Name of the pooling in `FIXED` whose vectors are needed; `None` for all tokens.
        title: Name of the task and of the split, for messages.
    """

    store: FeatureStore
    encoder: Encoder
    prefix: FrozenPrefix
    split: TokenizedSplit
    pooling: str | None
    title: str

    def features(self, *, compute: bool) -> SplitFeatures | None:
        """Return the features.

        Args:
            compute: Whether they are computed if they exist in no file.

        Returns:
            The features; `None` if there are none, or there is no room for them.

        Raises:
            OSError: If the files cannot be read or written.
        """
        files, key = self.store.files, self.key()
        shapes = self._shapes([self.pooling] if self.pooling else ["tokens"])
        stored = files.read(key, shapes)
        if stored is None and compute:
            with files.lock(key):  # another process may compute them now
                stored = files.read(key, shapes) or self._computed(key, shapes)
        if stored is None:
            return None
        dtype = getattr(torch, stored.computed_as)
        columns = tuple(
            TextFeatures(array, None if self.pooling else tokenized.starts, dtype)
            for array, tokenized in zip(stored.arrays.values(), self.split.texts, strict=True)
        )
        return SplitFeatures(columns, self.prefix)

    def key(self) -> str:
        """Return the key of the features: a hash of all that they depend on."""
        store = self.store
        parts = [FORMAT, torch.__version__, transformers.__version__, self.prefix.digest]
        parts += [store.dtype.str, store.precision, store.device, self.pooling is None]
        parts += [self.encoder.attention_of(store.device, training=False)]
        found = hashlib.sha256(repr(parts).encode())
        for tokenized in self.split.texts:
            for array in (tokenized.ids, tokenized.starts, tokenized.second):
                if array is not None:
                    found.update(f"{array.dtype} {array.shape};".encode())
                    found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()[:32]

    def _shapes(self, kinds: Collection[str]) -> dict[str, tuple[int, int]]:
        """Return the shapes of arrays of some kinds, column by column."""
        return {
            f"{column}-{kind}": (
                len(tokenized.ids) if kind == "tokens" else len(tokenized),
                self.encoder.width,
            )
            for column, tokenized in enumerate(self.split.texts)
            for kind in kinds
        }

    def _computed(self, key: str, wanted: Mapping[str, tuple[int, int]]) -> StoredArrays | None:
        """Compute the features into a file, in float32 if they are too large for half precision."""
        # All fixed poolings are kept, so that a sweep over them computes nothing again.
        shapes = self._shapes(list(FIXED) if self.pooling else ["tokens"])
        for dtype in (self.store.dtype, SINGLE):
            num_bytes = sum(rows * width for rows, width in shapes.values()) * dtype.itemsize
            obstacle = self.store.files.obstacle(num_bytes)
            if obstacle is not None:
                size = f"{num_bytes / 1e9:.1f} GB"
                log.warning("the features of %s take %s, %s: not kept", self.title, size, obstacle)
                return None
            show(f"features of {self.title}: {len(self.split):,} rows are encoded once, and kept")
            try:
                with self.store.files.writing(key, shapes, dtype, self.title) as writer:
                    self._write(writer)
                break
            except OverflowError as error:
                log.warning("the features of %s are kept in float32: %s", self.title, error)
        return self.store.files.read(key, wanted, check=False)

    def _write(self, writer: FeatureWriter) -> None:
        """Encode all texts, and write their features."""
        home = next(self.encoder.parameters()).device
        progress = Progress(f"features of {self.title}", total=len(self.split))
        self.encoder.to(self.store.device)
        try:
            with evaluating(self.encoder), progress:
                for rows_B, column, tokens in self._batches():
                    hidden_BLD = self._encoded(tokens)
                    writer.computed_as = str(hidden_BLD.dtype).removeprefix("torch.")
                    pieces = self._pieces(rows_B, column, hidden_BLD, tokens.mask_BL)
                    for name, begin, values in pieces:
                        writer.write(name, begin, values)
                    progress.advance(len(rows_B) if column == 0 else 0)
        finally:
            self.encoder.to(home)

    def _batches(self) -> Iterator[tuple[np.ndarray, int, Tokens]]:
        for rows_B in longest_first(self.split.lengths, BATCH_SIZE):
            for column, tokens in enumerate(self.split.tokens(rows_B)):
                yield rows_B, column, tokens.to(self.store.device)

    @torch.inference_mode()
    def _encoded(self, tokens: Tokens) -> Tensor:
        with half(self.store.precision, self.store.device):
            return output_of(self.encoder, tokens, self.prefix.depth)

    def _pieces(
        self, rows_B: np.ndarray, column: int, hidden_BLD: Tensor, mask_BL: Tensor
    ) -> Iterator[tuple[str, int, np.ndarray]]:
        """Yield name, first row and values of what is stored of a batch."""
        if self.pooling:
            for kind, pool in FIXED.items():
                vectors_BD = _on_cpu(pool(hidden_BLD, mask_BL))
                for row, vector_D in zip(rows_B, vectors_BD, strict=True):
                    yield f"{column}-{kind}", int(row), vector_D[None]
            return
        starts = self.split.texts[column].starts
        for row, hidden_LD in zip(rows_B, _on_cpu(hidden_BLD), strict=True):
            begin, end = int(starts[row]), int(starts[row + 1])
            yield f"{column}-tokens", begin, hidden_LD[: end - begin]


def _on_cpu(tensor: Tensor) -> np.ndarray:
    values: np.ndarray = tensor.float().cpu().numpy()
    return values
