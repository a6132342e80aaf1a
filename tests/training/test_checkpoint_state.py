"""A checkpoint's values are of the types that we write."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from candelabra.errors import TrainingError
from candelabra.training.checkpoint_state import KINDS, check_stored

OURS = {"weight": torch.ones(2, 3)}


def stored(**changes: Any) -> dict[str, Any]:
    scores = {"last": {}, "epoch": {}, "start": {}}
    good = {**{key: kind() for key, kind in KINDS.items()}, "main_scores": scores}
    return {**good, "state_dict": {"weight": torch.zeros(2, 3)}, **changes}


def test_what_we_write_is_taken() -> None:
    check_stored(stored(), OURS, path="x.ckpt")


@pytest.mark.parametrize("key", KINDS)
def test_a_value_of_another_type_is_named(key: str) -> None:
    with pytest.raises(TrainingError, match=rf"x\.ckpt: {key} must be a .*, is str"):
        check_stored(stored(**{key: "text"}), OURS, path="x.ckpt")


def test_weights_are_tensors() -> None:
    with pytest.raises(TrainingError, match="weight must be a tensor"):
        check_stored(stored(state_dict={"weight": [1.0]}), OURS, path="x.ckpt")


def test_scores_are_whole() -> None:
    with pytest.raises(TrainingError, match="main_scores must hold last, epoch and start"):
        check_stored(stored(main_scores={"last": {}}), OURS, path="x.ckpt")
