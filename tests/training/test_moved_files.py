"""A checkpoint of a run that was moved keeps its best files, and names none elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from candelabra.errors import TrainingError
from candelabra.training.checkpoint_state import check_files, move_files


def best(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, monitor="val/score", mode="max", filename="best")


def test_lightning_keeps_the_best_of_a_moved_run(tmp_path: Path) -> None:
    before, now = best(tmp_path / "before"), best(tmp_path / "now")
    before.best_model_path = before.kth_best_model_path = f"{tmp_path}/before/best.ckpt"
    before.best_k_models = {before.best_model_path: torch.tensor(0.5)}
    before.best_model_score = torch.tensor(0.5)
    checkpoint = {"callbacks": {now.state_key: before.state_dict()}}
    move_files(checkpoint, [now])
    check_files(checkpoint, [now])
    now.load_state_dict(checkpoint["callbacks"][now.state_key])
    assert now.best_model_path == now.kth_best_model_path == f"{tmp_path}/now/best.ckpt"
    assert now.best_k_models == {f"{tmp_path}/now/best.ckpt": torch.tensor(0.5)}


@pytest.mark.parametrize("path", ["/elsewhere/best.ckpt", "{before}/../../best.ckpt"])
def test_a_file_elsewhere_is_still_refused(path: str, tmp_path: Path) -> None:
    before, now = best(tmp_path / "before"), best(tmp_path / "now")
    before.best_model_path = path.format(before=tmp_path / "before")
    checkpoint = {"callbacks": {now.state_key: before.state_dict()}}
    move_files(checkpoint, [now])
    with pytest.raises(TrainingError, match="which is not in"):
        check_files(checkpoint, [now])
