from __future__ import annotations

from pathlib import Path

import pytest

from candelabra.errors import ConfigError, DataError
from candelabra.files import check_output, writing
from helpers.ended import ended_process


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
        with pytest.raises(ConfigError, match=r"out: cannot be written: .*/file is no folder"):
            check_output(tmp_path / name)
    monkeypatch.setattr("candelabra.files.os.access", lambda *_: False)
    with pytest.raises(ConfigError, match=f"{tmp_path} may not be written in"):
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


def test_what_a_killed_command_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    dead = ended_process()
    for name in (f".v[1].npy.{dead}.tmp", f".v1.npy.{dead}.tmp"):
        (tmp_path / name).write_bytes(b"half")
    with writing(tmp_path / "v[1].npy") as stream:
        stream.write(b"whole")
    assert {file.name for file in tmp_path.iterdir()} == {"v[1].npy", f".v1.npy.{dead}.tmp"}
