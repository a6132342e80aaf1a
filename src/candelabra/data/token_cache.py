"""Tokenize the texts of a split, or load their tokens from files with a verified checksum."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from candelabra.data.tokens import TextTokenizer, TokenizedTexts
from candelabra.files import drafted, remove_drafts
from candelabra.records import Examples

log = logging.getLogger(__name__)

CACHED = "[0-9a-f]" * 32 + "-*.safetensors"
"""Pattern of the names of the files."""
SUM = "sha256"
"""Key of the checksum in the file's metadata."""


def tokenize_cached(
    examples: Examples,
    tokenizer: TextTokenizer,
    *,
    fingerprint: str,
    cache_dir: Path | None,
    cross: bool = False,
) -> tuple[TokenizedTexts, ...]:
    """Return one `TokenizedTexts` per text column, from the cache if it contains them.

    Args:
        examples: Rows to tokenize.
        tokenizer: Tokenizer of the run.
        fingerprint: Hash of the examples.
        cache_dir: Folder of the cache; `None` disables it.
        cross: Whether the two texts of a pair form one sequence.
    """
    key = hashlib.sha256(f"{fingerprint} {tokenizer.fingerprint()}".encode()).hexdigest()[:32]
    makers = {
        str(index): partial(tokenizer, column, examples.words)
        for index, column in enumerate(examples.texts)
    }
    if cross:
        makers = {"cross": partial(tokenizer.pairs, *examples.texts)}
    return tuple(
        _load_or_make(make, None if cache_dir is None else cache_dir / f"{key}-{name}.safetensors")
        for name, make in makers.items()
    )


def _load_or_make(make: Callable[[], TokenizedTexts], path: Path | None) -> TokenizedTexts:
    from safetensors import SafetensorError

    if path is not None and path.exists():
        try:
            return TokenizedTexts(**read_arrays(path))
        except (OSError, TypeError, ValueError) as error:
            log.warning("token cache %s is damaged (%s); it is made again", path, error)
    tokenized = make()
    if path is not None:
        arrays = {name: array for name, array in vars(tokenized).items() if array is not None}
        try:
            write_arrays(path, arrays)
        except (OSError, SafetensorError) as error:
            log.warning("token cache %s cannot be written (%s)", path, error)
    return tokenized


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
