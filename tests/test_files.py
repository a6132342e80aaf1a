from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candelabra.errors import ConfigError, DataError
from candelabra.files import (
    check_output,
    checksum,
    clear_folder_drafts,
    drafted,
    remove_drafts,
    replacing,
    write_json,
    write_jsonl,
    write_text,
    writing,
)
from helpers.ended import ended_process
from helpers.full_disks import full_disk

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/"), inner, max_size=3),
    max_leaves=8,
)
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@in_one_folder
@given(values)
def test_json_round_trip(tmp_path: Path, value: object) -> None:
    write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == value
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


@in_one_folder
@given(st.lists(values, max_size=5))
def test_jsonl_has_a_line_a_value(tmp_path: Path, rows: list[object]) -> None:
    write_jsonl(tmp_path / "x.jsonl", rows)
    *lines, last = (tmp_path / "x.jsonl").read_bytes().split(b"\n")
    assert last == b""
    assert [json.loads(line) for line in lines] == rows


def test_keys_keep_their_order_and_letters_stay_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"b": "Amélie", "a": 1})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert text == '{\n  "b": "Amélie",\n  "a": 1\n}\n'


def test_folders_are_made_and_old_files_replaced(tmp_path: Path) -> None:
    for text in ("old and long", "new"):
        write_text(tmp_path / "a" / "b" / "x.txt", text)
    assert (tmp_path / "a" / "b" / "x.txt").read_text() == "new"


@pytest.mark.parametrize("fault", ["fsync", "replace", "encoding"])
def test_a_failure_leaves_the_old_file_alone(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "x.txt"
    write_text(file, "old")
    if fault == "fsync":
        monkeypatch.setattr("os.fsync", fail)
    if fault == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    text = "\ud800" if fault == "encoding" else "new"
    with pytest.raises((OSError, UnicodeEncodeError)):
        write_text(file, text)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file], "no draft is left either"


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    with full_disk(10), pytest.raises(OSError, match="File too large") as caught:
        write_text(file, "more than ten letters")
    assert caught.value.filename == str(file)
    assert not list(tmp_path.iterdir())


def test_drafts_of_killed_processes_are_removed(tmp_path: Path) -> None:
    dead = ended_process()
    drafts = {f".x.txt.{dead}.tmp", f".best.ckpt.{dead}.tmp", f".wandb.{dead}.tmp"}
    for name in drafts - {f".wandb.{dead}.tmp"}:
        (tmp_path / name).write_text("")
    (tmp_path / f".wandb.{dead}.tmp").symlink_to(tmp_path)
    remove_drafts(tmp_path, ["x.txt", "*.ckpt", "wandb"])
    assert not list(tmp_path.iterdir())


def test_drafts_of_this_process_id_are_of_one_before_it(tmp_path: Path) -> None:
    """As in a container, where every start has the same number."""
    (tmp_path / f".x.txt.{os.getpid()}.tmp").write_text("")
    remove_drafts(tmp_path, ["x.txt"])
    assert not list(tmp_path.iterdir())


def test_what_is_not_our_draft_stays(tmp_path: Path) -> None:
    dead, lives = ended_process(), os.getppid()
    kept = [
        f".notes.{dead}.tmp",  # a name that is not asked for
        f".x.txt.{lives}.tmp",  # of a process that goes on
        ".x.txt.tmp",
        ".x.txt.old.tmp",
        ".x.txt.-1.tmp",
        ".x.txt.0.tmp",
        f"x.txt.{dead}.tmp",
        f"below/.x.txt.{dead}.tmp",
        f".x.txt.{dead}.tmp/file",
    ]
    for name in kept:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    remove_drafts(tmp_path, ["x.txt"])
    remove_drafts(tmp_path / "no such folder", ["x.txt"])
    found = (path for path in tmp_path.rglob("*") if path.is_file())
    assert {str(path.relative_to(tmp_path)) for path in found} == set(kept)


def test_what_is_no_json_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", object())
    assert not list(tmp_path.iterdir())


def test_a_checksum_is_that_of_sha256sum(tmp_path: Path) -> None:
    """The example of FIPS 180-2, and a file beyond any buffer."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert checksum(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    (tmp_path / "many").write_bytes(b"a" * 1_000_000)
    assert checksum(tmp_path / "many") == (
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    )


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    for text in ("old", "new"):
        with drafted(folder) as draft:
            draft.mkdir()
            (draft / "a.txt").write_text(text)
        assert (folder / "a.txt").read_text() == text
    with pytest.raises(ArithmeticError), drafted(folder) as draft:  # noqa: PT012
        draft.mkdir()
        (draft / "a.txt").write_text("half")
        raise ArithmeticError
    assert (folder / "a.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_folder_stays_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "a.txt").write_text("old")
    rename = Path.replace

    def full(path: Path, target: Path) -> Path:
        if path == draft:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"), drafted(folder) as draft:
        draft.mkdir()
    assert (folder / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_link_is_replaced(tmp_path: Path) -> None:
    for target in ("one", "two"):
        with drafted(tmp_path / "link") as draft:
            draft.symlink_to(target)
        assert (tmp_path / "link").readlink() == Path(target)


@pytest.mark.parametrize(
    ("name", "suffixes", "message"),
    [
        ("out.csv", [".parquet", ".jsonl"], "output=out.csv: must end in one of .parquet, .jsonl"),
        ("out.jsn", [".json"], "output=out.jsn: must end in .json"),
        ("out", [".npy"], "output=out: must end in .npy"),
        (".", [".npy"], "output=.: is a folder, must be a file"),
        (".", None, "output=.: is a folder, must be a file"),
    ],
)
def test_what_is_refused(name: str, suffixes: list[str] | None, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_output(Path(name), suffixes)
    assert str(error.value) == message


def test_a_place_that_takes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for name in ("file/out", "file/below/out"):
        with pytest.raises(ConfigError, match=r"out: cannot be written: .*/file is not a folder"):
            check_output(tmp_path / name)
    monkeypatch.setattr("candelabra.files.os.access", lambda *_: False)
    with pytest.raises(ConfigError, match=f"{tmp_path} is not writable"):
        check_output(tmp_path / "new" / "out")


def test_what_is_taken(tmp_path: Path) -> None:
    check_output(tmp_path / "new" / "out.npy", [".npy", ".jsonl"])
    check_output(tmp_path / "out.whatever")


def test_a_file_stands_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataError, match=r"output=.*file/out: cannot be written: "),
        writing(tmp_path / "file" / "out") as stream,
    ):
        stream.write(b"a")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    def stop_halfway() -> None:
        with writing(tmp_path / "out") as stream:
            stream.write(b"new")
            raise MemoryError

    (tmp_path / "out").write_text("old")
    with pytest.raises(MemoryError):
        stop_halfway()
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"out": "old"}


@pytest.mark.parametrize("write", [writing, replacing])
def test_what_a_killed_command_left_is_cleared_by_the_next(
    tmp_path: Path, write: Callable[[Path], AbstractContextManager[BinaryIO]]
) -> None:
    dead = ended_process()
    for name in (f".v[1].npy.{dead}.tmp", f".v1.npy.{dead}.tmp"):
        (tmp_path / name).write_bytes(b"half")
    with write(tmp_path / "v[1].npy") as stream:
        stream.write(b"whole")
    assert {file.name for file in tmp_path.iterdir()} == {"v[1].npy", f".v1.npy.{dead}.tmp"}


@pytest.mark.parametrize("replaced", [True, False])
def test_what_a_killed_command_left_of_a_folder_is_cleared(tmp_path: Path, replaced: bool) -> None:
    """The old folder is put back where the process died before the new one was in place."""
    dead, lives = ended_process(), os.getppid()
    kept = {f".idx.{lives}.tmp", f".idx.{lives}.old", f".id_.{dead}.tmp", f".idx.1.{dead}.tmp"}
    for name in kept | {f".idx.{dead}.tmp", f".idx.{dead}.old", f".idy.{dead}.tmp"}:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    if replaced:
        (tmp_path / "idx").mkdir()
        (tmp_path / "idx" / "a").write_text("new")
    (tmp_path / f".idx.{dead + 1}.txt").write_text("a person's")
    clear_folder_drafts(tmp_path, ["id[a-z]"])
    clear_folder_drafts(tmp_path / "none", ["*"])
    left = {path.name for path in tmp_path.iterdir()}
    assert left == kept | {"idx", f".idx.{dead + 1}.txt"}
    assert (tmp_path / "idx" / "a").read_text() == ("new" if replaced else f".idx.{dead}.old")
