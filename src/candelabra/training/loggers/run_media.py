"""Tables, charts and pictures of a finished run for W&B.

Functions import W&B at their call, so that a run without it does not wait for the import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candelabra.errors import printable
from candelabra.predictions.errors import worst_first
from candelabra.predictions.reading import read_rows
from candelabra.predictions.rows import Kind, Span, TaskRows, class_names
from candelabra.records import Examples

if TYPE_CHECKING:
    import wandb

MOST_CHARACTERS = 1000
"""Longest cell of a table; what a run predicted is whole in `predictions/`."""
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

    @cached_property
    def rows(self) -> dict[str, TaskRows]:
        """Read the test predictions of each task that has any."""
        read = {task: read_rows(self.folder, task) for task in self.tests}
        return {task: rows for task, rows in read.items() if rows is not None}

    def charts(self) -> Iterator[tuple[str, Any]]:
        """Yield name and value of the scores by label, the confusion matrices and the pictures.

        Raises:
            OSError: A file cannot be read.
            ValueError: A file is damaged.
        """
        import wandb

        yield from label_charts(self.metrics)
        for task, rows in self.rows.items():
            if chart := confusion_chart(task, rows):
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
        for task, rows in self.rows.items() if most else ():
            table = prediction_table(rows, most, self.tests[task] if texts else None)
            yield f"test/{task}/predictions", table


def label_charts(metrics: Mapping[str, float]) -> Iterator[tuple[str, Any]]:
    """Yield a bar chart for each metric that has a value for each label, such as F1 by type.

    Args:
        metrics: Scores, among them `test/<task>/<metric>/<label>`.
    """
    import wandb

    by_metric: dict[str, list[tuple[str, float]]] = {}
    for name, value in metrics.items():
        parts = name.split("/", 3)
        if len(parts) == 4 and parts[0] == "test":
            by_metric.setdefault("/".join(parts[:3]), []).append((printable(parts[3]), value))
    for name, rows in by_metric.items():
        metric = name.rpartition("/")[2]
        table = wandb.Table(columns=["label", metric], data=[list(row) for row in rows])
        yield f"{name}_by_label", wandb.plot.bar(table, "label", metric, title=f"{name} by label")


def confusion_chart(task: str, rows: TaskRows) -> Any | None:
    """Return the confusion matrix of a task.

    Args:
        task: Name of the task.
        rows: Its test rows.

    Returns:
        The chart, or `None` if rows do not have one class each, or there are more than
        `MOST_CLASSES` classes.
    """
    import wandb

    if rows.kind is not Kind.CLASS or len(names := class_names(rows)) > MOST_CLASSES:
        return None
    place = {name: index for index, name in enumerate(names)}
    return wandb.plot.confusion_matrix(
        y_true=[place[name] for name in rows.labels],
        preds=[place[name] for name in rows.predictions],
        class_names=[printable(name) for name in names],
        title=f"{task}: confusion matrix",
    )


def prediction_table(rows: TaskRows, most: int, examples: Examples | None) -> wandb.Table:
    """Return the worst predictions of a task.

    Args:
        rows: Test rows of the task.
        most: Maximum number of rows.
        examples: Examples whose texts are shown; `None` shows none.
    """
    import wandb

    texts = {} if examples is None else _texts(examples)
    num_texts = max(map(len, texts.values()), default=0)
    names = ["text"] if num_texts == 1 else [f"text {n}" for n in range(1, num_texts + 1)]
    empty = [""] * num_texts
    data = []
    for error in islice(worst_first(rows), most):
        row, gold, predicted = (
            each[error.place] for each in (rows.rows, rows.labels, rows.predictions)
        )
        score = _score(predicted, rows.probabilities_of(error.place))
        data.append([row, *texts.get(row, empty), _cell(gold), _cell(predicted), score, error.size])
    return wandb.Table(columns=[COLUMNS[0], *names, *COLUMNS[1:]], data=data)


def _cell(value: Any) -> str | float:
    """Return a label or prediction; a span as type and offsets, since its words are a text."""
    if isinstance(value, list):
        names = (
            f"{one.entity} {one.start}-{one.end}" if isinstance(one, Span) else one for one in value
        )
        value = (", " if all(isinstance(one, str) for one in value) else "; ").join(names)
    return _clipped(value) if isinstance(value, str) else float(value)


def _score(predicted: Any, probabilities: Mapping[str, float]) -> float | None:
    """Return the probability of a class, or of the least certain span; `None` for others."""
    if isinstance(predicted, list):
        scores = [one.score for one in predicted if isinstance(one, Span) and one.score is not None]
        return min(scores, default=None)
    return probabilities.get(predicted) if isinstance(predicted, str) else None


def _clipped(text: str) -> str:
    whole = printable(text)
    return whole if len(whole) <= MOST_CHARACTERS else f"{whole[:MOST_CHARACTERS]}…"


def _texts(examples: Examples) -> dict[int, list[str]]:
    """Return the texts by row, cut like the other cells."""
    return {
        row: [printable(text[:MOST_CHARACTERS]) for text in texts]
        for row, texts in zip(examples.rows, zip(*examples.texts, strict=True), strict=True)
    }
