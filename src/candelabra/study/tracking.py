"""Log a study as one W&B run: its table of arms and tasks, its pictures and its page."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import wandb

from candelabra.errors import printable
from candelabra.study.result import StudyResult
from candelabra.study.view import View
from candelabra.training.loggers import WandbTracker

COLUMNS = (
    *("task", "metric", "arm", "mean", "spread", "seeds"),
    *("difference", "low", "high", "p", "margin", "verdict"),
)


def log_study(view: View, folder: Path, tracker: WandbTracker) -> None:
    """Log a study as one finished run; a failure of W&B is a warning.

    Args:
        view: Content of the page.
        folder: Folder of the study with the page.
        tracker: W&B logger of a run that has not started.
    """
    study = view.result.study
    tracker.log_config(
        {
            "study": study.name,
            "question": study.question,
            "baseline": study.baseline,
            "margins": dict(study.margins),
            "arms": {arm.name: arm.description for arm in study.arms},
            "equal": list(study.equal),
            "command": study.command,
        }
    )
    tracker.update_summary(summary_of(view.result))
    tracker.log_at_end(partial(study_media, view, folder))
    tracker.finish(0)


def summary_of(result: StudyResult) -> dict[str, Any]:
    """Return the answer, and `<task>/<arm>/score`, `difference` and `verdict` of each arm."""
    values: dict[str, Any] = {
        "answer": result.answer.sentence,
        "choice": result.answer.choice,
        "test_reads": result.study.test_reads,
    }
    for row in table_rows(result):
        key = f"{row['task']}/{row['arm']}"
        names = {"score": "mean", "difference": "difference", "verdict": "verdict"}
        known = {name: row[column] for name, column in names.items() if row[column] is not None}
        values |= {f"{key}/{name}": value for name, value in known.items()}
    return values


def table_rows(result: StudyResult) -> list[dict[str, Any]]:
    """Return a row with the `COLUMNS` for each task and arm; unknown cells are `None`."""
    return [
        _row(result, task, arm.name) for task in result.study.margins for arm in result.study.arms
    ]


def _row(result: StudyResult, task: str, arm: str) -> dict[str, Any]:
    scores = list(result.samples[task].scores[arm].values())
    contrast = result.contrasts[task].get(arm)
    judged = contrast if contrast is not None and contrast.estimate is not None else None
    low, high = (judged.interval if judged else None) or (None, None)
    return {
        "task": task,
        "metric": result.study.metric(task),
        "arm": arm,
        "mean": statistics.fmean(scores) if scores else None,
        "spread": statistics.stdev(scores) if len(scores) > 1 else None,
        "seeds": len(scores),
        "difference": judged.difference if judged else None,
        "low": low,
        "high": high,
        "p": judged.adjusted.p_value if judged else None,
        "margin": result.study.margins[task],
        "verdict": "baseline" if contrast is None else contrast.words,
    }


def study_media(view: View, folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the name and the W&B object of the table, of each picture and of the page.

    Args:
        view: Content of the page.
        folder: Folder of the study with the page.

    Raises:
        OSError: The page cannot be read.
    """
    rows = table_rows(view.result)
    data = [[_plain(row[name]) for name in COLUMNS] for row in rows]
    yield "study/arms", wandb.Table(columns=list(COLUMNS), data=data)
    for picture in view.pictures:
        # W&B shows SVG only as part of HTML.
        svg = picture.svg[picture.svg.index("<svg") :]
        yield f"study/{picture.name}", wandb.Html(svg, inject=False, data_is_not_path=True)
    yield "study/report", wandb.Html(str(folder / "report.html"), inject=False)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    return value if value is None or isinstance(value, int) else float(value)
