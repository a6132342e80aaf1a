from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, Timer

from candelabra.run import finish
from helpers.toys import Splits, fit, toy_data, toy_module, toy_trainer


def best(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="best", monitor="val/score", mode="max")


def test_the_best_weights_are_tested(toys: Splits, tmp_path: Path) -> None:
    module, data = toy_module(), toy_data(toys)
    trainer = toy_trainer(
        max_epochs=3, enable_checkpointing=True, callbacks=[best(tmp_path / "checkpoints")]
    )
    trainer.fit(module, datamodule=data)
    file = finish.best_checkpoint(trainer)
    assert file == tmp_path / "checkpoints" / "best.ckpt"
    stored = torch.load(file, weights_only=True)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    scores = finish.restore_best(trainer, module)
    metrics = finish.test(trainer, module, data, tmp_path)
    assert all(tensor.equal(stored["state_dict"][n]) for n, tensor in module.state_dict().items())
    assert scores == stored["scores"]
    mean = (metrics["test/mood/accuracy"] + metrics["test/who/f1"]) / 2
    assert metrics["test/score"] == pytest.approx(mean)
    assert {"test/who/f1/Actor", "test/who/support/Year"} <= set(metrics)
    assert "val/who/f1/Actor" in scores
    assert sorted(file.name for file in (tmp_path / "predictions").iterdir()) == [
        "mood.jsonl",
        "who.jsonl",
    ]


def test_without_a_test_split_validation_stands_alone(toys: Splits, tmp_path: Path) -> None:
    splits = {task: {k: v for k, v in each.items() if k != "test"} for task, each in toys.items()}
    module, data, trainer = toy_module(), toy_data(splits), toy_trainer()
    trainer.fit(module, datamodule=data)
    assert finish.best_checkpoint(trainer) is None
    assert "val/score" in finish.restore_best(trainer, module)
    assert finish.test(trainer, module, data, tmp_path) == {}
    assert not list(tmp_path.iterdir())


def test_the_pace_counts_what_was_drawn(toys: Splits) -> None:
    timer = Timer()
    module = fit(toys, accumulate_grad_batches=2, callbacks=[timer])
    # The training of the sessions before.
    timer.load_state_dict({"time_elapsed": {"train": 1000.0}})
    found = finish.fit_speed(module.trainer, module, 2.0)
    assert 1000.0 < found.pop("fit_seconds") < 1100.0
    tokens = sum(int(each["train"].lengths.sum()) for each in toys.values())
    assert found == {
        "steps": 8,
        "examples_per_second": 32.0,
        "tokens_per_second": tokens / 2,
    }
