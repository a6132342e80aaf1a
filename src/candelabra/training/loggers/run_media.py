"""What W&B shows of a finished run beside its metrics: tables, charts and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import wandb

from candelabra.errors import printable
from candelabra.records import Examples
from candelabra.training.loggers.prediction_rows import (
    MOST_CHARACTERS,
    classes_of,
    read_predictions,
    worst_first,
)

MOST_CLASSES = 100
"""Most classes of a confusion matrix, which has a row for each pair of classes."""
COLUMNS = ("row", "gold", "predicted", "score", "wrong")


@dataclass(frozen=True)
class RunMedia:
    """Media of a run, made from its folder when W&B asks for them.

    Attributes:
        folder: Run folder.
        metrics: Final scores.
        tests: Tested examples of each task, for their texts.
    """

    folder: Path
    metrics: Mapping[str, float] = field(default_factory=dict)
    tests: Mapping[str, Examples] = field(default_factory=dict)

    def charts(self) -> Iterator[tuple[str, Any]]:
        """Yield name and value of the scores by label, the confusion matrices and the pictures.

        Raises:
            OSError: A file cannot be read.
            ValueError: A file is damaged.
        """
        yield from label_charts(self.metrics)
        for task in self.tests:
            if chart := confusion_chart(self.folder / "predictions" / f"{task}.jsonl"):
                yield f"test/{task}/confusion", chart
        for file in sorted(self.folder.glob("*.png")):
            yield f"pictures/{file.stem}", wandb.Image(str(file))

    def predictions(self, most: int, *, texts: bool) -> Iterator[tuple[str, Any]]:
        """Yield name and table of the test predictions of each task, the worst first.

        Args:
            most: Maximum number of rows of a table.
            texts: Whether the tables have the texts of the rows.

        Raises:
            OSError: A file cannot be read.
            ValueError: A file is damaged.
        """
        for task, examples in self.tests.items():
            file = self.folder / "predictions" / f"{task}.jsonl"
            if most and file.is_file():
                table = prediction_table(file, most, examples if texts else None)
                yield f"test/{task}/predictions", table


def label_charts(metrics: Mapping[str, float]) -> Iterator[tuple[str, Any]]:
    """Yield a bar chart for each metric that has a value for each label, such as F1 by type.

    Args:
        metrics: Scores, among them `test/<task>/<metric>/<label>`.
    """
    by_metric: dict[str, list[tuple[str, float]]] = {}
    for name, value in metrics.items():
        parts = name.split("/", 3)
        if len(parts) == 4 and parts[0] == "test":
            by_metric.setdefault("/".join(parts[:3]), []).append((printable(parts[3]), value))
    for name, rows in by_metric.items():
        metric = name.rpartition("/")[2]
        table = wandb.Table(columns=["label", metric], data=[list(row) for row in rows])
        yield f"{name}_by_label", wandb.plot.bar(table, "label", metric, title=f"{name} by label")


def confusion_chart(file: Path) -> Any | None:
    """Return the confusion matrix of a task.

    Args:
        file: Predictions of the task.

    Returns:
        The chart, or `None` if there is no file, or no single class for each row, or there are
        more than `MOST_CLASSES` classes.
    """
    lines = read_predictions(file) if file.is_file() else []
    names = classes_of(lines)
    if names is None or len(names) > MOST_CLASSES:
        return None
    place = {name: index for index, name in enumerate(names)}
    return wandb.plot.confusion_matrix(
        y_true=[place[line["label"]] for line in lines],
        preds=[place[line["prediction"]["label"]] for line in lines],
        class_names=[printable(name) for name in names],
        title=f"{file.stem}: confusion matrix",
    )


def prediction_table(file: Path, most: int, examples: Examples | None) -> wandb.Table:
    """Return the worst predictions of a task.

    Args:
        file: Predictions of the task.
        most: Maximum number of rows.
        examples: Examples whose texts are shown; `None` shows none.
    """
    texts = {} if examples is None else _texts(examples)
    num_texts = max(map(len, texts.values()), default=0)
    names = ["text"] if num_texts == 1 else [f"text {n}" for n in range(1, num_texts + 1)]
    empty = [""] * num_texts
    rows = islice(worst_first(read_predictions(file)), most)
    data = [
        [each.row, *texts.get(each.row, empty), each.gold, each.predicted, each.score, each.wrong]
        for each in rows
    ]
    return wandb.Table(columns=[COLUMNS[0], *names, *COLUMNS[1:]], data=data)


def _texts(examples: Examples) -> dict[int, list[str]]:
    """Return the texts by row, cut like the other cells."""
    return {
        row: [printable(text[:MOST_CHARACTERS]) for text in texts]
        for row, texts in zip(examples.rows, zip(*examples.texts, strict=True), strict=True)
    }
