from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from candelabra.training.callbacks.predictions import PredictionWriter
from helpers.toys import LABELS, Splits, toy_data, toy_module, toy_trainer


def written(folder: Path, task: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / f"{task}.jsonl").read_text().splitlines()]


def test_one_line_a_test_row_in_the_order_of_the_source(toys: Splits, tmp_path: Path) -> None:
    # Every third row of a longer source: what a limit or a skipped row leaves.
    splits = {
        task: {**each, "test": replace(each["test"], examples=_thinned(each["test"].examples))}
        for task, each in toys.items()
    }
    writer = PredictionWriter(tmp_path, {task: each["test"] for task, each in splits.items()})
    module = toy_module()
    trainer = toy_trainer(callbacks=[writer])
    for _ in range(2):
        trainer.test(module, datamodule=toy_data(splits), verbose=False)
        for task, each in splits.items():
            rows = written(tmp_path, task)
            assert [row["row"] for row in rows] == [3 * i + 1 for i in range(len(each["test"]))]
            head, examples = module.model.head(task), each["test"].examples
            assert [row["label"] for row in rows] == head.describe_labels(examples)
            for index, row in enumerate(rows):
                batch = each["test"].batch([index])
                logits = module.model.eval()({task: batch})[task]
                (alone,) = head.describe(logits, batch.first_BW, examples.take([index]))
                assert _rounded(row["prediction"]) == _rounded(alone)
    assert {row["label"] for row in written(tmp_path, "mood")} == set(LABELS["mood"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mood.jsonl", "who.jsonl"]


def _thinned(examples):  # type: ignore[no-untyped-def]
    return replace(examples, rows=[3 * row + 1 for row in examples.rows])


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value
