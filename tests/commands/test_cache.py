"""`candelabra cache` from the command line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from candelabra.data.feature_files import ABOUT, FeatureFiles
from helpers.command_line import called, python
from helpers.ended import ended_process

KEYS = ["0a" * 16, "0b" * 16]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two entries of features, one file of tokens, and a file of somebody else."""
    files = FeatureFiles(tmp_path / "features", None)
    for key, title in zip(KEYS, ("mood.train", "who.test"), strict=True):
        with files.writing(key, {"0-mean": (300, 1000)}, np.dtype(np.float32), title) as writer:
            writer.write("0-mean", 0, np.ones((300, 1000), dtype=np.float32))
    os.utime(files.folder / KEYS[0] / ABOUT, (86400, 86400))
    (tmp_path / f"{KEYS[0]}-0.safetensors").write_bytes(b"." * 10**6)
    # A killed process leaves its locks.
    (tmp_path / "features" / f".{KEYS[0]}.lock").touch()
    (tmp_path / f".{KEYS[0]}-teacher.safetensors.lock").touch()
    (tmp_path / "own").touch()
    graph = tmp_path / "onnx" / KEYS[0]
    graph.mkdir(parents=True)
    (graph / "encoder.onnx").write_bytes(b"." * 10**6)
    return tmp_path


def test_what_is_kept_is_shown(folder: Path) -> None:
    done = called("cache", f"cache_dir={folder}")
    assert (done.status, done.err) == (0, "")
    rows = [line.split("│")[1:-1] for line in done.out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row[:2]] for row in rows] == [
        ["features of who.test", "1.2"],
        ["features of mood.train", "1.2"],
        ["ONNX graph of an encoder", "1.0"],
        ["tokens, and answers of teachers: 1 files", "1.0"],
    ]
    assert "1970-01-0" in rows[1][2]
    assert done.out.endswith(f"in {folder}: 4.4 MB\n")


def test_a_damaged_entry_is_shown_as_such(folder: Path) -> None:
    (folder / "features" / KEYS[1] / ABOUT).write_text("[]")
    out = called("cache", f"cache_dir={folder}").out
    assert f"features of {KEYS[1]}" in out
    assert "damaged" in out


def test_clearing_leaves_what_others_wrote(folder: Path) -> None:
    done = called("cache", f"cache_dir={folder}", "clear=true")
    assert (done.status, done.out) == (0, f"removed from {folder}: 4.4 MB\n")
    assert sorted(path.name for path in folder.rglob("*")) == ["features", "onnx", "own"]
    assert called("cache", f"cache_dir={folder}").out == f"nothing is cached in {folder}\n"


def test_what_killed_processes_left_is_cleared(tmp_path: Path) -> None:
    dead = ended_process()
    for left in ("tmp", "old"):
        entry = tmp_path / "features" / f".{KEYS[0]}.{dead}.{left}"
        entry.mkdir(parents=True)
        (entry / "0-mean.npy").write_bytes(b"." * 10**6)
    (tmp_path / f".{KEYS[0]}-0.safetensors.{dead}.tmp").touch()
    assert called("cache", f"cache_dir={tmp_path}", "clear=true").status == 0
    assert [path.name for path in tmp_path.rglob("*")] == ["features"]


def test_a_missing_folder_keeps_nothing(tmp_path: Path) -> None:
    done = called("cache", f"cache_dir={tmp_path / 'none'}", "clear=true")
    assert (done.status, done.out) == (0, f"nothing is cached in {tmp_path / 'none'}\n")


def test_wrong_words_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cases = {
        f"cache_dir={tmp_path / 'file'}": "must be a folder, is a file",
        "cache_dir=null": "cache_dir",
        "clear=maybe": "clear",
        "cleer=true": "did you mean 'clear'?",
        f"paths.cache_dir={tmp_path}": "no key 'paths.cache_dir'; did you mean 'cache_dir'?",
    }
    for word, part in cases.items():
        done = called("cache", word)
        assert (done.status, done.out) == (2, "")
        assert part in done.message


def test_nothing_heavy_is_imported(folder: Path) -> None:
    from helpers.command_line import HEAVY_AFTER

    done = python("-c", HEAVY_AFTER, "cache", f"cache_dir={folder}")
    assert done.out.splitlines()[-1] == "heavy:"
