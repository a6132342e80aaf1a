"""Whether a checkpoint is one that a run can go on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from candelabra.errors import TrainingError

OF_LIGHTNING = ("state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers")
OF_THE_MODULE = ("steps_done", "examples_seen", "losses", "main_scores", "scores")
"""What is in every such checkpoint."""


def check_stored(checkpoint: Mapping[str, Any], ours: Mapping[str, Tensor], *, path: Any) -> None:
    """Looks at keys and shapes.

    Args:
        checkpoint: As it was read.
        ours: The state of the module that is to go on.
        path: Where the checkpoint lies, for the message.

    Raises:
        TrainingError: It is no checkpoint of a run, or its weights are those of another model.
    """
    missing = [key for key in (*OF_LIGHTNING, *OF_THE_MODULE) if key not in checkpoint]
    if missing:
        raise TrainingError(f"the checkpoint {path} lacks {missing}")
    states = (ours, checkpoint["state_dict"])
    shapes = [{key: list(tensor.shape) for key, tensor in state.items()} for state in states]
    for key in sorted(shapes[0].keys() | shapes[1].keys()):
        here, there = (found.get(key) for found in shapes)
        if here != there:
            raise TrainingError(
                f"the checkpoint is of another model: {key} is {there or 'not'} there, and "
                f"{here or 'not'} here"
            )
