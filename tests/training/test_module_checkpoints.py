"""What a checkpoint holds, and that a run goes on from it as if never broken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from candelabra.training.module import MultiTaskModule
from helpers.toys import (
    Splits,
    difference,
    fit,
    tiny,
    toy_model,
    toy_module,
)


def checkpoint_callback(folder: Path, **kwargs: object) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="{step}", save_top_k=-1, **kwargs)


def test_a_checkpoint_is_plain_and_tells_where_the_run_stands(toys: Splits, tmp_path: Path) -> None:
    callback = checkpoint_callback(tmp_path, every_n_train_steps=3)
    fit(toys, max_epochs=2, enable_checkpointing=True, callbacks=[callback])
    files = sorted(tmp_path.iterdir())
    assert len(files) == 5
    for file in files:
        stored = torch.load(file, weights_only=True)
        assert f"step={stored['steps_done']}.ckpt" == file.name
    # After the first epoch there are scores; they are those of that validation.
    assert set(torch.load(tmp_path / "step=3.ckpt", weights_only=True)["scores"]) == set()
    scores = torch.load(tmp_path / "step=12.ckpt", weights_only=True)["scores"]
    assert {"val/score", "val/mood/accuracy", "val/who/f1"} <= set(scores)
    assert all(type(score) is float for score in scores.values())
    assert not [name for name in stored["state_dict"] if name.startswith("metrics.")]


def test_the_best_checkpoint_holds_its_own_scores(toys: Splits, tmp_path: Path) -> None:
    callback = checkpoint_callback(tmp_path, monitor="val/score", mode="max")
    fit(toys, max_epochs=2, enable_checkpointing=True, callbacks=[callback])
    stored = torch.load(tmp_path / "step=16.ckpt", weights_only=True)
    assert stored["steps_done"] == 16
    assert stored["scores"]["val/score"] == pytest.approx(float(callback.current_score))


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty")  # that is a resume
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")  # the sampler is resumable
@pytest.mark.parametrize("step", [3, 8, 9])
def test_a_resumed_run_equals_an_unbroken_one(toys: Splits, tmp_path: Path, step: int) -> None:
    """From the middle of an epoch, its end, and the one after; with dropout."""

    def module() -> MultiTaskModule:
        return toy_module(toy_model(tiny(dropout=0.3)))

    def run(**kwargs: object) -> MultiTaskModule:
        callback = checkpoint_callback(tmp_path, every_n_train_steps=step)
        settings = {"max_epochs": 2, "callbacks": [callback], "enable_checkpointing": True}
        return fit(toys, module(), **settings, **kwargs)

    unbroken = fit(toys, module(), max_epochs=2)
    run(max_steps=step)
    resumed = run(ckpt_path=str(tmp_path / f"step={step}.ckpt"))
    assert resumed.steps_done == unbroken.steps_done == 16
    assert difference(unbroken, resumed) == 0
