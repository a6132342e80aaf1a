"""Command `candelabra report`: a run, a sweep or a study on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from candelabra.commands.arguments import compose_command
from candelabra.errors import ConfigError, DataError
from candelabra.files import check_place
from candelabra.report.kinds import FolderKind, kind_of

HELP = """candelabra report FOLDER [overrides]: a run, a sweep or a study on one page.

  FOLDER           of a run: its scores, curves, calibration, what it confuses, its worst errors
                   of a sweep: its trials, and the effect of each option
                   of a study: its page again, from the runs that still exist
  output=FOLDER    receives report.html, report.md and pictures/; default: the folder itself
  errors=20        worst errors of each task of a run; 0 shows none and reads no texts
  data_dir=FOLDER  replaces the data folder of the training, from which the texts are read
  allow=[]         further `_target_` names that the stored configuration may use

Nothing is trained or evaluated. The page is one file that needs no network.
"""


def main(overrides: list[str]) -> int:
    """Write the page of a folder, print where it is and return the exit status."""
    folder, rest = split_folder(overrides)
    cfg, given, _ = compose_command("report", rest, ("output",))
    kind = kind_of(folder)
    output = checked_output(folder, given.get("output"))
    try:
        answer = write(kind, folder, output, cfg)
    except OSError as error:
        # The user can only repair errors of the output.
        file = Path(str(error.filename)).absolute()
        if not file.is_relative_to(output.absolute()):
            raise
        reason = error.strerror or error
        raise DataError(f"{output}: the page cannot be written: {reason}") from error

    from candelabra import tables

    tables.show(answer, f"page: {output / 'report.html'}")
    return 0


def split_folder(overrides: Sequence[str]) -> tuple[Path, list[str]]:
    """Separate the folder, which is the first word, from the overrides.

    Raises:
        ConfigError: There is no folder.
    """
    first = overrides[0] if overrides else ""
    if not first or first.startswith("-") or ("=" in first and not Path(first).is_dir()):
        got = f"got {first!r}" if first else "got none"
        raise ConfigError(f"report needs a folder first: candelabra report FOLDER; {got}")
    return Path(first), list(overrides[1:])


def checked_output(folder: Path, given: str | None) -> Path:
    """Return the folder of the page.

    Args:
        folder: The folder that is reported on.
        given: Value of `output=`, or `None` for the folder itself.

    Raises:
        ConfigError: It is a file, cannot be written, or its folder of pictures is a link.
    """
    output = folder if given is None else Path(given)
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output={output}: must be a folder, is a file")
    check_place(output / "report.html")
    if (output / "pictures").is_symlink():
        raise ConfigError(f"{output / 'pictures'}: is a link, must be a folder")
    return output


def write(kind: FolderKind, folder: Path, output: Path, cfg: DictConfig) -> str:
    """Write the page, and return its most important sentence."""
    if kind is FolderKind.STUDY:
        return write_study_again(folder, output, allow=list(cfg.allow))

    from candelabra.report.page import write_page

    if kind is FolderKind.SWEEP:
        from candelabra.report.sweep_view import sweep_page

        page = sweep_page(folder)
    else:
        from candelabra.report.run_view import run_page

        allow = list(cfg.allow)
        page = run_page(folder, most_errors=cfg.errors, data_dir=cfg.data_dir, allow=allow)
    write_page(output, "page", page.pictures, page=page)
    return page.answer


def write_study_again(folder: Path, output: Path, *, allow: Sequence[str]) -> str:
    """Write the files of a study from the runs that still exist, and return its answer."""
    from candelabra.study.again import INPUTS, read_study
    from candelabra.study.page import write_study
    from candelabra.study.result import compare_arms

    result = compare_arms(read_study(folder, allow=allow))
    try:
        sentence = result.answer.sentence
    except (TypeError, ValueError) as error:
        raise DataError(f"{folder / INPUTS}: its rule does not fit its arms: {error}") from error
    write_study(result, output)
    return sentence
