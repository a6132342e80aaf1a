"""Check that a run can resume from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from candelabra.errors import TrainingError

OF_LIGHTNING = ("state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers")
OF_THE_MODULE = ("steps_done", "examples_seen", "losses", "main_scores", "scores")
"""Keys that every resumable checkpoint contains."""
NAMING_FILES = ("best_model_path", "kth_best_model_path", "last_model_path")
"""Keys under which Lightning's checkpoint callbacks store the paths of their files."""
KINDS = {
    "state_dict": dict,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "steps_done": int,
    "examples_seen": dict,
    "losses": dict,
    "main_scores": dict,
    "scores": dict,
}


def check_stored(checkpoint: Mapping[str, Any], ours: Mapping[str, Tensor], *, path: Any) -> None:
    """Check the keys of a checkpoint and the shapes of its weights against a module.

    Args:
        checkpoint: Content of the checkpoint file.
        ours: State dict of the module that will load the checkpoint.
        path: Path of the checkpoint, for the error message.

    Raises:
        TrainingError: If keys are missing, or names or shapes of the weights differ.
    """
    missing = [key for key in (*OF_LIGHTNING, *OF_THE_MODULE) if key not in checkpoint]
    if missing:
        raise TrainingError(f"the checkpoint {path} lacks {missing}")
    for key, kind in KINDS.items():
        if not isinstance(checkpoint[key], kind):
            found = type(checkpoint[key]).__name__
            raise TrainingError(
                f"the checkpoint {path}: {key} must be a {kind.__name__}, is {found}"
            )
    scores = checkpoint["main_scores"]
    if not all(isinstance(scores.get(key), dict) for key in ("last", "epoch", "start")):
        raise TrainingError(f"the checkpoint {path}: main_scores must hold last, epoch and start")
    for key, tensor in checkpoint["state_dict"].items():
        if not isinstance(tensor, Tensor):
            raise TrainingError(f"the checkpoint {path}: {key} must be a tensor")
    states = (ours, checkpoint["state_dict"])
    shapes = [{key: list(tensor.shape) for key, tensor in state.items()} for state in states]
    for key in sorted(shapes[0].keys() | shapes[1].keys()):
        here, there = (by_key.get(key) for by_key in shapes)
        if here != there:
            raise TrainingError(
                f"the checkpoint is of another model: the shape of {key} is {_shape(there)} in the "
                f"checkpoint, and {_shape(here)} in this run"
            )


def check_files(checkpoint: Mapping[str, Any], callbacks: Iterable[Callback]) -> None:
    """Check that a checkpoint names no file outside the folders of its callbacks.

    Lightning would delete such a file after a better epoch, or load it as the best weights.

    Args:
        checkpoint: Content of the checkpoint file.
        callbacks: Callbacks of the trainer that resumes.

    Raises:
        TrainingError: If the state of a callback names a file outside the folder of that callback.
    """
    for callback in (each for each in callbacks if isinstance(each, ModelCheckpoint)):
        state = checkpoint["callbacks"].get(callback.state_key, {})
        folder = Path(callback.dirpath or ".").resolve()
        named = [state.get(key) for key in NAMING_FILES]
        for path in [*named, *state.get("best_k_models", {})]:
            if path and not Path(path).resolve().is_relative_to(folder):
                raise TrainingError(f"the checkpoint names {path}, which is not in {folder}")


def move_files(checkpoint: Mapping[str, Any], callbacks: Iterable[Callback]) -> None:
    """Name the files of the callbacks by their present folders, if the run folder was moved.

    Lightning forgets the best checkpoint if the stored folder is another than the callback's.

    Args:
        checkpoint: Content of the checkpoint file, which is changed in place.
        callbacks: Callbacks of the trainer that resumes the run.
    """
    for callback in callbacks:
        if not isinstance(callback, ModelCheckpoint) or callback.dirpath is None:
            continue
        state = checkpoint["callbacks"].get(callback.state_key, {})
        before, now = state.get("dirpath"), str(callback.dirpath)
        if not isinstance(before, str) or before == now:
            continue
        state["dirpath"] = now
        for key in NAMING_FILES:
            state[key] = _moved(state.get(key), before, now)
        best = state.get("best_k_models", {})
        state["best_k_models"] = {_moved(path, before, now): best[path] for path in best}


def _moved(path: Any, before: str, now: str) -> Any:
    inside = isinstance(path, str) and path.startswith(f"{before}/")
    return now + path.removeprefix(before) if inside else path


def _shape(shape: list[int] | None) -> str:
    """Return the text of a shape for the message; `None` means a missing tensor."""
    return "missing" if shape is None else str(shape)
