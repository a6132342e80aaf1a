"""Create the exported folder atomically, without replacing unrelated files."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from candelabra.errors import ConfigError, DataError
from candelabra.exporting.formats import MARK
from candelabra.files import check_place, clear_folder_drafts, drafted

_FULL_DISK = re.compile(r"os error (27|28|122)|No space left|File too large|quota exceeded")
"""Messages of libraries about a full disk, a quota or a limit of the file size."""


def check_output(output: Path, bundle: Path, *, overwrite: bool) -> None:
    """Raise ConfigError if the export cannot be written to `output`.

    Args:
        output: Folder to write.
        bundle: Folder of the bundle.
        overwrite: Whether an earlier export may be replaced.

    Raises:
        ConfigError: If one folder contains the other, or `output` is not a folder, cannot be
            written, or has files that must not be replaced.
    """
    here, source = output.resolve(), bundle.resolve()
    if here.is_relative_to(source) or source.is_relative_to(here):
        raise ConfigError(
            f"output={output}: neither of this folder and the bundle may be inside the other"
        )
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise ConfigError(f"output={output}: must be a folder, or not exist yet")
    check_place(output)
    whole = output.absolute()
    clear_folder_drafts(whole.parent, [glob.escape(whole.name)])
    _check_replaceable(output, overwrite=overwrite)


def _check_replaceable(output: Path, *, overwrite: bool) -> None:
    """Raise ConfigError if a folder has files that must not be replaced."""
    if not output.is_dir() or not any(output.iterdir()):
        return
    if not overwrite:
        raise ConfigError(f"output={output}: not empty; overwrite=true replaces an earlier export")
    if not (output / MARK).is_file():
        raise ConfigError(
            f"output={output}: overwrite=true replaces exports only, and it has no file {MARK}"
        )


@contextmanager
def replacing_folder(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder and move it to `output` when the block ends without an error.

    Args:
        output: Folder to write.
        overwrite: Whether an earlier export may be replaced.

    Raises:
        ConfigError: If meanwhile `output` has files that must not be replaced.
        DataError: If the folder cannot be written.
    """
    output = output.absolute()
    try:
        clear_folder_drafts(output.parent, [glob.escape(output.name)])
        with drafted(output) as draft:
            draft.mkdir()
            yield draft
            _check_replaceable(output, overwrite=overwrite)
    except OSError as error:
        raise DataError(f"output={output}: cannot be written: {error.strerror or error}") from error
    except Exception as error:
        # safetensors, tokenizers and onnx have exceptions of their own for a full disk.
        if not _FULL_DISK.search(str(error)):
            raise
        raise DataError(f"output={output}: cannot be written: {error}") from error
