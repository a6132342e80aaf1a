"""`candelabra report` from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.command_line import Run, called, python
from helpers.full_disks import full_disk
from helpers.pages import assert_harmless
from helpers.report_folders import write_run
from helpers.sweep_folders import write_sweep


def test_a_trained_run_gets_its_page(run: Run) -> None:
    before = {file: file.read_bytes() for file in run.folder.rglob("*") if file.is_file()}
    done = called("report", str(run.folder))
    assert done.status == 0, done.err
    assert done.out.startswith("Test: sentiment accuracy ")
    page = (run.folder / "report.html").read_text()
    assert_harmless(page)
    assert "The data" not in page  # the texts of the sample are found
    assert "cut off" not in page  # the predictions give the scores
    assert page.count("worst errors") == 2
    assert {file: file.read_bytes() for file in before} == before
    assert "# " in (run.folder / "report.md").read_text()


def test_the_page_may_go_elsewhere(tmp_path: Path) -> None:
    folder = write_run(tmp_path, tasks=("mood",))
    done = called("report", str(folder), f"output={tmp_path / 'page'}", "errors=3")
    assert done.status == 0, done.err
    assert "The 3 worst errors" in (tmp_path / "page" / "report.html").read_text()
    assert not (folder / "report.html").exists()


def test_a_sweep_gets_its_page(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep")
    done = called("report", str(tmp_path / "sweep"))
    assert done.status == 0, done.err
    assert done.out.startswith("Highest val/score: 0.")
    assert "Parallel coordinates" in (tmp_path / "sweep" / "report.html").read_text()


def test_any_other_folder_is_refused(tmp_path: Path) -> None:
    message = called("report", str(tmp_path)).message
    for word in ("run.json", "config.yaml", ".trials", "sweep.csv", "study.json"):
        assert word in message
    assert "no such folder" in called("report", str(tmp_path / "none")).message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "needs a folder first"),
        (["errors=3"], "needs a folder first"),
        (["--folder"], "needs a folder first"),
        ([".", "erors=3"], "did you mean 'errors'?"),
        ([".", "errors=-1"], "errors must be"),
    ],
)
def test_wrong_words_are_one_message(words: list[str], expected: str) -> None:
    assert expected in called("report", *words).message


def test_pictures_are_not_written_through_a_link(tmp_path: Path) -> None:
    folder = write_run(tmp_path, tasks=("mood",))
    (tmp_path / "elsewhere").mkdir()
    (folder / "pictures").symlink_to(tmp_path / "elsewhere")
    assert "is a link" in called("report", str(folder)).message
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_full_disk_is_one_message(tmp_path: Path) -> None:
    folder = write_run(tmp_path, tasks=("mood",))
    with full_disk(1000):
        done = called("report", str(folder))
    assert "the page cannot be written" in done.message
    assert not list(folder.rglob("*.tmp"))


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from candelabra.cli import main; main(['report', '--help']); "
        "print('heavy:', *(n for n in ('torch', 'matplotlib', 'sklearn') if n in sys.modules))"
    )
    done = python("-c", program)
    assert "candelabra report FOLDER" in done.out
    assert done.out.splitlines()[-1] == "heavy:"
