"""Predictions, charts and pictures of a run, read back from the files of one offline W&B run."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from candelabra.records import Examples
from candelabra.training.loggers.run_media import RunMedia
from helpers.wandb_runs import Make, freeze_service, summary, warnings_of


def classified(row: int, gold: str, said: str, sure: float) -> dict[str, Any]:
    rest = {"bad": "good", "good": "bad"}[said]
    prediction = {"label": said, "score": sure, "probabilities": {said: sure, rest: 1 - sure}}
    return {"row": row, "label": gold, "prediction": prediction}


def span(kind: str, start: int, score: float | None = None) -> dict[str, Any]:
    scored = {} if score is None else {"score": score}
    return {"text": "a secret", "type": kind, "start": start, "end": start + 8, **scored}


REVIEWS = [
    classified(3, "good", "good", 0.9),
    classified(4, "bad", "good", 0.6),
    classified(7, "bad", "good", 0.8),
]
MOVIES = [
    {"row": 0, "label": [span("Actor", 2)], "prediction": [span("Actor", 2, 0.5)]},
    {"row": 1, "label": [span("Actor", 2)], "prediction": [span("Plot", 2, 0.7)]},
    {"row": 2, "label": [], "prediction": [span("Plot", 0, 0.9)]},
]
METRICS = {"test/score": 0.5, "test/movie/f1": 0.4, "test/movie/f1/Actor": 0.5}


@pytest.fixture
def media(tmp_path: Path) -> RunMedia:
    folder = tmp_path / "run"
    for task, lines in {"sentiment": REVIEWS, "movie": MOVIES}.items():
        file = folder / "predictions" / f"{task}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    Figure(figsize=(1, 1)).savefig(folder / "gradients.png")
    texts = [f"text of {row}" for row in range(9)]
    tests = {
        task: Examples(([texts[row["row"]] for row in lines],), [0] * 3, None, rows)
        for task, lines in {"sentiment": REVIEWS, "movie": MOVIES}.items()
        if (rows := [row["row"] for row in lines])
    }
    return RunMedia(folder, METRICS, tests)


def test_one_run_has_tables_charts_and_pictures(
    make: Make, media: RunMedia, tmp_path: Path
) -> None:
    tracker = make()
    tracker.log_summary(media.metrics)
    tracker.log_at_end(media.charts)
    tracker.log_at_end(partial(media.predictions, 2, texts=False))
    tracker.finish(0)
    folder = tmp_path / "outputs/quickstart/run-1/wandb"
    found = summary(folder)["summary"]
    assert (found["test/score"], found["test/movie/f1"]) == (0.5, 0.4)

    def table(name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((folder / "files" / found[name]["path"]).read_text())
        return content

    reviews = table("test/sentiment/predictions")
    assert reviews["columns"] == ["row", "gold", "predicted", "score", "wrong"]
    assert reviews["data"] == [[7, "bad", "good", 0.8, 1], [4, "bad", "good", 0.6, 1]]
    movies = table("test/movie/predictions")["data"]
    assert movies == [[1, "Actor 2-10", "Plot 2-10", 0.7, 2], [2, "", "Plot 0-8", 0.9, 1]]
    assert "secret" not in "".join(
        file.read_text() for file in folder.glob("files/media/table/**/*.json")
    )
    assert table("test/movie/f1_by_label_table")["data"] == [["Actor", 0.5]]
    pairs = table("test/sentiment/confusion_table")["data"]
    assert pairs == [["good", "good", 1], ["good", "bad", 0], ["bad", "good", 2], ["bad", "bad", 0]]
    assert (folder / "files" / found["pictures/gradients"]["path"]).stat().st_size
    assert "test/movie/confusion_table" not in found


def test_texts_and_size_are_settings(media: RunMedia) -> None:
    assert not list(media.predictions(0, texts=True))
    tables = dict(media.predictions(1000, texts=True))
    table = tables["test/sentiment/predictions"]
    assert table.columns == ["row", "text", "gold", "predicted", "score", "wrong"]
    assert [row[1] for row in table.data] == ["text of 7", "text of 4", "text of 3"]


def test_damaged_predictions_are_one_warning_and_the_run_ends_well(
    make: Make, media: RunMedia, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (media.folder / "predictions/movie.jsonl").write_text("{")
    tracker = make()
    tracker.log_summary(media.metrics)
    tracker.log_at_end(partial(media.predictions, 2, texts=False))
    tracker.finish(0)
    (message,) = warnings_of(caplog)
    assert "no tables or pictures of run run-1" in message
    assert summary(tmp_path / "outputs/quickstart/run-1/wandb")["state"] == "finished"


@pytest.mark.slow
def test_a_frozen_service_does_not_hold_the_end_for_media(
    make: Make, media: RunMedia, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = make(finish_timeout_seconds=0.5)
    tracker.log_summary(media.metrics)
    freeze_service()
    tracker.log_at_end(media.charts)
    tracker.finish(0)
    assert "W&B did not answer within 0.5 s" in warnings_of(caplog)[0]
