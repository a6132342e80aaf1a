"""Command `candelabra cache`: show or clear the files that trainings cache on the disk."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from candelabra.commands.arguments import compose_command
from candelabra.config.keys import GRAPHS
from candelabra.data.feature_files import FOLDER, KEY, Entry, FeatureFiles
from candelabra.data.token_cache import CACHED
from candelabra.errors import ConfigError, DataError
from candelabra.files import clear_folder_drafts, remove_drafts

if TYPE_CHECKING:
    from rich.table import Table

HELP = """candelabra cache [overrides]: the files that trainings cache on the disk.

  cache_dir=outputs/cache  the folder, as paths.cache_dir of the trainings
  clear=true               removes them: tokenized texts, answers of teachers, features of frozen
                           encoders, ONNX graphs; other files in the folder stay

The next training that needs a removed file computes it again.
"""


def main(overrides: list[str]) -> int:
    """Show or remove the cached files, and return the exit status."""
    cfg, _, _ = compose_command("cache", overrides, ())
    if not cfg.cache_dir:
        raise ConfigError(f"cache_dir must name a folder, got {cfg.cache_dir!r}")
    folder = Path(cfg.cache_dir)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"cache_dir={folder}: must be a folder, is a file")

    from candelabra.tables import show

    try:
        features = FeatureFiles(folder / FOLDER, None)
        if cfg["clear"]:  # `clear` is a method, too
            remove_drafts(folder, [CACHED])
            for lock in folder.glob(f".{CACHED}.lock"):
                lock.unlink(missing_ok=True)
            features.clear_rest()
            clear_folder_drafts(folder / GRAPHS, ["*"])
        entries = [*_graphs(folder / GRAPHS), *_features(features)]
        files = [path for path in sorted(folder.glob(CACHED)) if path.is_file()]
        num_bytes = sum(path.stat().st_size for path in files)
        total = f"{num_bytes / 1e6 + sum(entry.num_bytes for entry in entries) / 1e6:,.1f} MB"
        if not entries and not files:
            show(f"nothing is cached in {folder}")
        elif cfg["clear"]:
            for path in files:
                path.unlink(missing_ok=True)
            for entry in entries:
                shutil.rmtree(entry.path)
            show(f"removed from {folder}: {total}")
        else:
            show(_table(entries, len(files), num_bytes), f"in {folder}: {total}")
    except OSError as error:
        raise DataError(f"cache_dir={folder}: {error.strerror or error}") from error
    return 0


def _features(files: FeatureFiles) -> list[Entry]:
    return [replace(entry, title=f"features of {entry.title}") for entry in files.entries()]


def _graphs(folder: Path) -> list[Entry]:
    """Return the ONNX graphs that commands with `backend=onnx` keep."""
    entries = []
    for graph in (path for path in sorted(folder.glob("*")) if KEY.fullmatch(path.name)):
        num_bytes = sum(path.stat().st_size for path in graph.iterdir())
        entries.append(Entry(graph, "ONNX graph of an encoder", num_bytes, graph.stat().st_mtime))
    return entries


def _table(entries: list[Entry], num_files: int, num_bytes: int) -> Table:
    """Return a table of the cached files, the latest features and graphs first."""
    from rich.table import Table

    table = Table(title="cache", title_justify="left")
    table.add_column("cached")
    table.add_column("MB", justify="right")
    table.add_column("last use", justify="right")
    for entry in reversed(entries):
        used = f"{datetime.fromtimestamp(entry.used):%Y-%m-%d %H:%M}" if entry.used else "damaged"
        table.add_row(entry.title, f"{entry.num_bytes / 1e6:,.1f}", used)
    if num_files:
        row = f"tokens, and answers of teachers: {num_files} files"
        table.add_row(row, f"{num_bytes / 1e6:,.1f}", "")
    return table
