"""Comparison of the scores of several models, with confidence intervals and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candelabra.bundle.stored import stored_lines
from candelabra.errors import DataError
from candelabra.evaluation.bootstrap import Difference, accuracy, mcnemar, paired_bootstrap
from candelabra.evaluation.row_scores import RowScores, row_scores
from candelabra.tables import format_number, short_names

if TYPE_CHECKING:
    from rich.table import Table

SAME = "data_dir=FOLDER or tasks=PRESET gives all models the same"
TELLING = 1e-4
"""Tolerance for treating a metric as reproducible from the per-row predictions."""


@dataclass(frozen=True)
class PairedDifference:
    """Difference of a model from the first model.

    Attributes:
        interval: Difference with its 95% confidence interval.
        p_value: p-value of McNemar's test if the metric is an accuracy, otherwise `None`.
    """

    interval: Difference
    p_value: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Scores of several models on the same rows.

    Attributes:
        metrics: Values by model and by metric key, such as `test/<task>/<metric>`. The first model
            is the baseline.
        differences: Differences from the first model, by key of a main metric and by model.
    """

    metrics: Mapping[str, Mapping[str, float]]
    differences: Mapping[str, Mapping[str, PairedDifference]] = field(default_factory=dict)

    def rows(self) -> list[str]:
        """Return the metric keys of the table rows, with the mean score last."""
        keys = list(dict.fromkeys(key for found in self.metrics.values() for key in found))
        return [key for key in keys if key.count("/") == 2] + [
            key for key in keys if key.count("/") == 1
        ]

    def plain(self) -> dict[str, Any]:
        """Return the content of comparison.json."""
        differences = {
            key: {
                model: {**asdict(one.interval), "p_value": one.p_value} for model, one in t.items()
            }
            for key, t in self.differences.items()
        }
        return {
            "metrics": {name: dict(m) for name, m in self.metrics.items()},
            "intervals": differences,
        }

    def table(self, *, title: str) -> Table:
        """Create a table with one row per metric: scores, and differences from the first model."""
        from rich.table import Table
        from rich.text import Text

        first, *others = short_names(list(self.metrics))
        table = Table(title=title, title_justify="left", caption_justify="left")
        for column in ("task", "metric"):
            table.add_column(column)
        for model in (first, *others):
            table.add_column(Text(model), justify="right", overflow="fold")
        for model in others:
            table.add_column(Text(f"{model} - {first}"), justify="right", overflow="fold")
        for key in self.rows():
            _, *parts = key.split("/")
            task, metric = parts if len(parts) == 2 else ("all", parts[0])
            values = [found.get(key) for found in self.metrics.values()]
            differences = [
                _difference(values[0], value, self.differences.get(key, {}).get(model))
                for model, value in list(zip(self.metrics, values, strict=True))[1:]
            ]
            table.add_row(task, metric, *map(format_number, values), *differences)
        notes = (
            ["in brackets: 95% interval, paired bootstrap over the rows"]
            if self.differences
            else []
        )
        if any(
            one.p_value is not None
            for others in self.differences.values()
            for one in others.values()
        ):
            notes.append("p: McNemar's test")
        table.caption = "; ".join(notes) or None
        return table


def compare_models(
    metrics: Mapping[str, Mapping[str, float]],
    predictions: Mapping[str, Path],
    main: Mapping[str, str],
    *,
    resamples: int,
    seed: int,
) -> Comparison:
    """Compare models, with confidence intervals for the main metrics of the tasks.

    Args:
        metrics: Metrics of each model by key, such as `test/<task>/<metric>`.
        predictions: Folder of each model with the files `<task>.jsonl`.
        main: Key of the main metric of each task, such as `test/<task>/<metric>`.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Raises:
        DataError: Two models were evaluated on different rows.
    """
    first, *others = metrics
    differences: dict[str, dict[str, PairedDifference]] = {}
    for task, key in main.items():
        if not all((folder / f"{task}.jsonl").is_file() for folder in predictions.values()):
            continue  # Probes and single-text metrics have no predictions per row.
        baseline = _rows(predictions[first] / f"{task}.jsonl")
        one = _counted(key, baseline, metrics[first])
        for model in others:
            rows = _rows(predictions[model] / f"{task}.jsonl")
            _check_same(task, {first: baseline, model: rows})
            other = _counted(key, rows, metrics[model])
            if one is not None and other is not None:
                differences.setdefault(key, {})[model] = _paired_difference(
                    one, other, resamples, seed
                )
    return Comparison(metrics, differences)


def check_same_texts(text_hashes: Mapping[str, Mapping[str, str]]) -> None:
    """Raise an error if the models were evaluated on different texts.

    Args:
        text_hashes: SHA-256 of the evaluated texts by model and task.

    Raises:
        DataError: The texts of a task differ from those of the first model.
    """
    first, *others = text_hashes
    for other in others:
        for task in text_hashes[first].keys() & text_hashes[other].keys():
            if text_hashes[first][task] != text_hashes[other][task]:
                raise DataError(
                    f"task {task!r}: {first} was evaluated on other texts than {other}; {SAME}"
                )


def _paired_difference(
    one: RowScores, other: RowScores, resamples: int, seed: int
) -> PairedDifference:
    interval = paired_bootstrap(
        one.score, one.items_NS, other.items_NS, resamples=resamples, seed=seed
    )
    if one.score is not accuracy:
        return PairedDifference(interval)
    right, others_right = (each.items_NS[:, 0] > 0 for each in (one, other))
    return PairedDifference(interval, mcnemar(right, others_right))


def _rows(file: Path) -> list[dict[str, Any]]:
    return [dict(row) for row in stored_lines(file.parent, file.name)]


def _counted(
    key: str, rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, float]
) -> RowScores | None:
    """Convert rows to items, or return `None` if they do not reproduce the metric."""
    found = row_scores(key.rpartition("/")[2], rows)
    if found is None or key not in metrics or abs(found.value - metrics[key]) > TELLING:
        return None
    return found


def _check_same(task: str, models: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    (first, rows), (other, others_rows) = models.items()
    if len(rows) != len(others_rows):
        raise DataError(
            f"task {task!r}: {first} was evaluated on {len(rows)} rows and {other} on "
            f"{len(others_rows)}; {SAME}"
        )
    for one, another in zip(rows, others_rows, strict=True):
        # Compare strings because a label may be NaN, which is not equal to itself.
        if str((one["row"], one["label"])) != str((another["row"], another["label"])):
            raise DataError(
                f"task {task!r}: {first} was evaluated on row {one['row']} ({one['label']!r}) "
                f"where {other} was on row {another['row']} ({another['label']!r}); {SAME}"
            )


def _difference(
    first: float | None, other: float | None, differences: PairedDifference | None
) -> str:
    if first is None or other is None:
        return "-"
    words = f"{other - first:+.4f}"
    if differences is not None:
        words += f" [{differences.interval.low:+.4f}, {differences.interval.high:+.4f}]"
        if differences.p_value is not None:
            words += (
                f" p {differences.p_value:.3f}" if differences.p_value >= 0.001 else " p < .001"
            )
    return words
