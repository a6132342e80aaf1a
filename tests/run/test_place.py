from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from candelabra.errors import ConfigError
from candelabra.run.place import check_run_folder, check_sweep_folder, holder_of, run_lock
from helpers.command_line import SMALL, wrong
from helpers.ended import running

RUN = {"run_id": "20260101-000000-abcd", "status": "interrupted"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fill(folder: str, *names: str, record: object = None) -> None:
    for name in names:
        Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
        Path(folder, name).write_text("mine")
    if record is not None:
        Path(folder, "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize("place", ["own", "."])
def test_a_folder_of_a_persons_is_left_untouched(place: str) -> None:
    fill("own", ".notes.7.tmp", "run.log")
    before = {file: file.stat().st_mtime_ns for file in Path().rglob("*")}
    message = wrong(*SMALL, f"hydra.run.dir={place}")
    holds = {"own": ".notes.7.tmp", ".": "own"}[place]
    assert message == (
        f"hydra.run.dir={place}: must be a new or an empty folder, or that of a run that did not "
        f"finish; it holds {holds}"
    )
    assert {file: file.stat().st_mtime_ns for file in Path().rglob("*")} == before


def test_a_sweep_leaves_it_untouched_too() -> None:
    fill("own", "0/thesis.txt")
    message = wrong("-m", "seed=1,2", "hydra.sweep.dir=own")
    assert message.startswith("hydra.sweep.dir=own: must be a new or an empty folder")
    assert [file.name for file in Path("own").rglob("*")] == ["0", "thesis.txt"]


@pytest.mark.parametrize("found", [{"status": "running"}, ["run_id"], {"run_id": "mine"}, None])
@pytest.mark.parametrize("names", [("bundle.txt", "config.json"), ("metrics.json", "report.json")])
def test_what_is_no_run_folder_is_refused(found: object, names: tuple[str, ...]) -> None:
    """As a bundle, or what evaluate has written; a record of another program makes it no run's."""
    fill("own", *names, record=found)
    with pytest.raises(ConfigError, match="must be a new or an empty folder"):
        check_run_folder("own")


def test_new_folders_and_unfinished_runs_are_taken() -> None:
    check_run_folder("deep/new")
    assert not Path("deep").exists()
    Path("empty").mkdir()
    check_run_folder("empty")
    fill("refused before", "run.log", "run.rank1.log", ".hydra/config.yaml", "run.lock")
    check_run_folder("refused before")
    fill("run", "metrics.csv", record=RUN)
    check_run_folder("run")
    fill("run", record={**RUN, "status": "finished"})
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir=run: holds a finished run"):
        check_run_folder("run")


LINKS = ("run.log", ".hydra", ".hydra/config.yaml", "gradients.png", "checkpoints", "run.lock")


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize(
    ("check", "place"),
    [(check_run_folder, ""), (check_sweep_folder, "0"), (check_sweep_folder, "")],
)
def test_a_link_out_of_the_folder_is_refused(
    check: Callable[[str], None], place: str, name: str
) -> None:
    """An unfinished run of somebody else could send its log and settings through it."""
    fill("own", "thesis.txt")
    fill("f", "multirun.yaml", record=RUN)
    link = Path("f", place, name)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(Path("own", "thesis.txt").absolute())
    with pytest.raises(ConfigError, match=rf"dir=f: {link} is a link out of the folder"):
        check("f")


def test_links_within_the_folder_and_the_link_to_wandb_are_taken() -> None:
    fill("f", "multirun.yaml", "0/metrics.csv", record=RUN)
    Path("f", "latest").symlink_to("0")
    for name in ("wandb", "0/wandb"):
        Path("f", name).symlink_to(Path("outputs", "wandb").absolute())
    check_run_folder("f")
    check_sweep_folder("f")


def test_a_sweep_goes_on_in_its_folder() -> None:
    check_sweep_folder("new")
    fill("s", ".trials/x/000000.json", "0/run.json", "sweep.csv")
    check_sweep_folder("s")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("hydra.run.dir=file", "cannot be used: Not a directory"),
        ("hydra.run.dir=file/below", "cannot be used: Not a directory"),
        (f"hydra.run.dir={'long' * 100}", "cannot be used: File name too long"),
        ("hydra.run.dir=/dev/null/x", "cannot be used: Not a directory"),
        ("hydra.run.dir=pipe", "cannot be used: Not a directory"),
        ("hydra.run.dir=pipe/x", "cannot be used: Not a directory"),
        (
            "hydra.run.dir=with_a_pipe",
            "hydra.run.dir=with_a_pipe: run.log is neither a file nor a folder",
        ),
        ("paths.output_dir=", "paths.output_dir must name a folder; found ''"),
    ],
)
def test_a_place_that_cannot_be_is_one_message(given: str, reason: str) -> None:
    fill(".", "file")
    os.mkfifo("pipe")
    Path("with_a_pipe").mkdir()
    os.mkfifo("with_a_pipe/run.log")
    assert wrong(*SMALL, given).endswith(reason)


@pytest.mark.skipif(not os.access("/proc/self", os.R_OK), reason="there is no /proc")
@pytest.mark.parametrize("check", [check_run_folder, check_sweep_folder])
def test_a_file_system_that_takes_no_folders_is_refused(check: Callable[[str], None]) -> None:
    with pytest.raises(ConfigError, match=r"dir=/proc/x: cannot be written"):
        check("/proc/x")


def test_a_read_only_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("run").mkdir()
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ConfigError, match=r"hydra\.run\.dir=run: is not writable"):
        check_run_folder("run")


def test_a_folder_in_use_is_refused_until_its_process_is_gone() -> None:
    folder = Path("run").absolute()
    with running(str(folder)) as (process, worker):
        assert process != worker
        assert (holder_of(folder) or "").startswith(f"process {process} on ")
        rule = f"the run in {folder} is still running, as process {process} on "
        with pytest.raises(ConfigError, match=rule), run_lock(folder, writes=True):
            pytest.fail("two runs in one folder")
        with run_lock(folder, writes=False):
            pass  # the other processes of the same run
        fill("run", record=RUN)
        message = wrong(*SMALL, f"hydra.run.dir={folder}")
        assert message.startswith(f"hydra.run.dir={folder}: {rule}")
        os.kill(process, 9)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        assert holder_of(folder) is None, "its worker lives, and holds nothing"
        with run_lock(folder, writes=True):
            pass


def test_the_lock_never_writes_through_a_link() -> None:
    fill("own", "thesis.txt")
    Path("run").mkdir()
    Path("run", "run.lock").symlink_to(Path("own", "thesis.txt").absolute())
    with pytest.raises(OSError, match="symbolic links"), run_lock(Path("run"), writes=True):
        pytest.fail("locked")
    assert Path("own", "thesis.txt").read_text() == "mine"
