"""Files of features: whole or not at all, checked, limited, written by one process at a time."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from candelabra.data import waiting_lock
from candelabra.data.feature_files import ABOUT, FeatureFiles
from candelabra.data.features import TextFeatures
from helpers.ended import ended_process
from helpers.full_disks import full_disk

KEY, OTHER = "0a" * 16, "0b" * 16
SHAPES = {"0-tokens": (5, 3)}
VALUES = np.arange(15, dtype=np.float32).reshape(5, 3)
HALF, SINGLE = np.dtype(np.float16), np.dtype(np.float32)


def write(files: FeatureFiles, key: str = KEY, dtype: np.dtype = SINGLE) -> None:
    with files.writing(key, SHAPES, dtype, "mood.train") as writer:
        for begin, end in ((3, 5), (0, 1), (1, 3)):  # batches come in any order
            writer.write("0-tokens", begin, VALUES[begin:end])


@pytest.fixture
def files(tmp_path: Path) -> FeatureFiles:
    return FeatureFiles(tmp_path / "features", None)


@pytest.mark.parametrize("dtype", [HALF, SINGLE], ids=str)
def test_what_is_written_is_read(files: FeatureFiles, dtype: np.dtype) -> None:
    assert files.read(KEY, SHAPES) is None
    write(files, dtype=dtype)
    stored = files.read(KEY, SHAPES)
    assert stored is not None
    assert stored.arrays["0-tokens"].dtype == dtype
    np.testing.assert_array_equal(stored.arrays["0-tokens"], VALUES)
    assert [path.name for path in files.folder.iterdir()] == [KEY]


def change_about(**values: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        about = json.loads((folder / ABOUT).read_text())
        (folder / ABOUT).write_text(json.dumps({**about, **values}))

    return change


def other_shape(folder: Path) -> None:
    """A file of somebody else, with the right checksum."""
    other = FeatureFiles(folder.parent.parent / "other", None)
    with other.writing(KEY, {"0-tokens": (5, 2)}, SINGLE, "") as writer:
        writer.write("0-tokens", 0, VALUES[:, :2])
    shutil.rmtree(folder)
    shutil.copytree(other.folder / KEY, folder)


ARRAY = "0-tokens.npy"
DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda folder: os.truncate(folder / ARRAY, 100),
    "a bit": lambda folder: (folder / ARRAY).write_bytes((folder / ARRAY).read_bytes()[:-1] + b"?"),
    "a pipe": lambda folder: ((folder / ARRAY).unlink(), os.mkfifo(folder / ARRAY)),
    "no array": lambda folder: (folder / ARRAY).unlink(),
    "no checksums": lambda folder: (folder / ABOUT).unlink(),
    "other json": lambda folder: (folder / ABOUT).write_text("[1]"),
    "no json": lambda folder: (folder / ABOUT).write_bytes(b"\xff\x00"),
    "other type": change_about(computed_as="float64"),
    "no type": change_about(computed_as=["float32"]),
    "a file": lambda folder: (shutil.rmtree(folder), folder.write_text("")),
    "other shape": other_shape,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_reported_and_can_be_written_again(
    files: FeatureFiles, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(files)
    DAMAGES[damage](files.folder / KEY)
    with caplog.at_level(logging.WARNING):
        assert files.read(KEY, SHAPES) is None
    assert f"the features in {files.folder / KEY} are damaged" in caplog.text
    write(files)
    assert files.read(KEY, SHAPES) is not None


def test_an_error_or_a_full_disk_leaves_nothing(files: FeatureFiles) -> None:
    with suppress(ArithmeticError), files.writing(KEY, SHAPES, SINGLE, "") as writer:
        writer.write("0-tokens", 0, VALUES)
        raise ArithmeticError
    with pytest.raises(OSError, match="File too large"), full_disk(150):
        write(files)
    assert not list(files.folder.iterdir())


def test_a_number_beyond_half_precision_is_refused(files: FeatureFiles) -> None:
    with (
        pytest.raises(OverflowError),
        files.writing(KEY, {"0-tokens": (1, 2)}, HALF, "") as writer,
    ):
        writer.write("0-tokens", 0, np.array([[1, 7e4]], dtype=np.float32))
    assert not list(files.folder.iterdir())


def test_drafts_of_killed_processes_are_removed(files: FeatureFiles) -> None:
    dead, lives = ended_process(), os.getppid()
    for left in (f"{dead}.tmp", f"{dead}.old", f"{lives}.tmp"):
        (files.folder / f".{OTHER}.{left}").mkdir(parents=True)
    write(files)
    # What was replaced when the process was killed is put back.
    assert {path.name for path in files.folder.iterdir()} == {KEY, OTHER, f".{OTHER}.{lives}.tmp"}


def test_the_limit_removes_the_oldest_use(files: FeatureFiles) -> None:
    keys = [f"{number:032x}" for number in range(4)]
    for age, key in enumerate(keys[:3]):
        write(files, key)
        os.utime(files.folder / key / ABOUT, (1000 + age, 1000 + age))
    mapped = files.read(keys[0], SHAPES)  # now used last
    assert mapped is not None
    one = files.entries()[0].num_bytes
    limited = FeatureFiles(files.folder, 3.5 * one / 1e9)
    write(limited, keys[3])
    assert [entry.path.name for entry in limited.entries()] == [keys[2], keys[0], keys[3]]
    FeatureFiles(files.folder, one / 1e9).trim()
    assert [entry.path.name for entry in limited.entries()] == [keys[3]]
    np.testing.assert_array_equal(mapped.arrays["0-tokens"], VALUES)  # removed while it is in use


def test_what_has_no_room_is_refused_before_it_is_computed(files: FeatureFiles) -> None:
    assert files.obstacle(10) is None
    assert "free on the disk" in str(files.obstacle(10**18))
    limited = FeatureFiles(files.folder, 0.5)
    assert limited.obstacle(4 * 10**8) is None
    assert limited.obstacle(6 * 10**8) == "more than paths.feature_cache_gb=0.5"


def _write_unless_there(files: FeatureFiles, start: object, computed: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    with files.lock(KEY):
        if files.read(KEY, SHAPES) is None:
            computed.put(os.getpid())  # type: ignore[attr-defined]
            write(files)


def test_of_several_processes_one_computes(files: FeatureFiles) -> None:
    context = multiprocessing.get_context("fork")
    start, computed = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=_write_unless_there, args=(files, start, computed)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert computed.get()
    assert computed.empty()
    assert [path.name for path in files.folder.iterdir()] == [KEY]


def _enter(files: FeatureFiles, entered: object) -> None:
    with files.lock(KEY):
        entered.set()  # type: ignore[attr-defined]


def _hold(files: FeatureFiles, holds: object, release: object) -> None:
    with files.lock(KEY):
        holds.set()  # type: ignore[attr-defined]
        assert release.wait(60)  # type: ignore[attr-defined]


def test_one_process_after_the_other_has_the_lock(
    files: FeatureFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the third, which begins after the second has taken over the lock of the first."""
    context = multiprocessing.get_context("fork")
    waits, holds, release, entered = (context.Event() for _ in range(4))
    monkeypatch.setattr(waiting_lock, "show", lambda message: waits.set())
    second = context.Process(target=_hold, args=(files, holds, release))
    third = context.Process(target=_enter, args=(files, entered))
    with files.lock(KEY):
        second.start()
        assert waits.wait(60)
        assert not holds.is_set()
    assert holds.wait(60)
    waits.clear()
    third.start()
    assert waits.wait(60)
    assert not entered.is_set()
    release.set()
    second.join()
    third.join()
    assert entered.is_set()
    assert not list(files.folder.glob(".*.lock"))


def test_processes_without_a_lock_leave_one_whole_entry(files: FeatureFiles) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write, args=(files,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert files.read(KEY, SHAPES) is not None


def test_batches_are_padded_with_zeros() -> None:
    tokens = TextFeatures(VALUES, np.array([0, 2, 5]), torch.bfloat16)
    batch_BLD = tokens.batch([1, 0])
    assert batch_BLD.dtype == torch.bfloat16
    assert batch_BLD[0].tolist() == VALUES[2:].tolist()
    assert batch_BLD[1].tolist() == [*VALUES[:2].tolist(), [0.0, 0.0, 0.0]]
    vectors = TextFeatures(VALUES, None, torch.float32)
    assert vectors.batch(np.array([4, 0])).tolist() == VALUES[[4, 0], None].tolist()
