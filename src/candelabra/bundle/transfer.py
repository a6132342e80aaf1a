"""Start a run from the weights of a trained bundle (`init_from=BUNDLE`).

The weights of the encoder are always copied, and those of a head if the task has the same name and
labels. Only tensors and names are read. Nothing is built from the configuration of the bundle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candelabra.bundle import checkpoint
from candelabra.bundle.checkpoint import check_checkpoint, is_checkpoint, start_from_checkpoint
from candelabra.bundle.checksums import check_checksums
from candelabra.bundle.folder import checked_folder, stored_config, stored_labels
from candelabra.errors import ConfigError, nearest
from candelabra.files import checksum

if TYPE_CHECKING:
    from torch import Tensor, nn

    from candelabra.model.multitask import MultiTaskModel

BUNDLE, NEW = "bundle", "new"
WEIGHTS = ("encoder/model.safetensors", "heads.safetensors")


def check_start(folder: str, heads: Iterable[str] | None, tasks: Collection[str]) -> None:
    """Check names and files, before large libraries are imported.

    Args:
        folder: Folder of the bundle, a run folder that contains it, or a transformers checkpoint.
        heads: Heads that must come from the bundle; `None` takes those that fit.
        tasks: Tasks of the run.

    Raises:
        BundleError: If the folder is not a bundle.
        ConfigError: If a head is not a task of the run, or not one of the bundle.
    """
    if is_checkpoint(Path(folder)):
        check_checkpoint(Path(folder), list(heads or []), tasks)
        return
    theirs = stored_labels(checked_folder(Path(folder), key="init_from"))
    for head in heads or []:
        for names, whose in ((tasks, "a task of the run"), (theirs, "a head of the bundle")):
            if head not in names:
                raise ConfigError(
                    f"init_heads must name heads of init_from={folder} and tasks of the run; "
                    f"'{head}' is not {whose} ({', '.join(names)}){nearest(head, names)}"
                )


def fingerprint(folder: str) -> dict[str, str]:
    """Return the SHA-256 of the weight files of a bundle, which a resumed run compares."""
    if is_checkpoint(Path(folder)):
        return checkpoint.fingerprint(Path(folder))
    root = checked_folder(Path(folder), key="init_from")
    return {name: checksum(root / name) for name in WEIGHTS}


def start_from(
    model: MultiTaskModel,
    folder: str,
    *,
    config: Mapping[str, Any],
    labels: Mapping[str, list[str]],
    heads: Collection[str] | None = None,
) -> dict[str, str]:
    """Copy the weights of a bundle into a model.

    Args:
        model: Model that receives the weights of the encoder, heads, poolings and layer mixes.
        folder: Folder of the bundle, or a run folder that contains it.
        config: Nodes `pooling` and `tasks` of the run as plain values.
        labels: Label names of each task of the run.
        heads: Heads that must come from the bundle, with their poolings and layer mixes. An empty
            list copies the encoder alone, and `None` every head that fits.

    Returns:
        Part, as in the table of the model -> `bundle`, or `new` with the reason.

    Raises:
        BundleError: If the weights are damaged.
        ConfigError: If the encoder differs, or a required head does not fit.
    """
    from candelabra.bundle.weights import read_tensors

    if is_checkpoint(Path(folder)):
        return start_from_checkpoint(
            model, Path(folder), config=config, labels=labels, heads=list(heads or [])
        )
    root = checked_folder(Path(folder), key="init_from")
    check_checksums(root)
    _check_shared_encoder(root, folder)
    encoder, rest = (read_tensors(root / name) for name in WEIGHTS)
    differs = _take(model.encoder.backbone, encoder)
    if differs:
        raise ConfigError(
            f"init_from={folder}: its encoder is not the run's: {differs}; encoder= has to name "
            "the one that it was trained from"
        )
    origins = {}
    for task in model.heads:
        if heads is not None and task not in heads:
            origins[task] = NEW
            continue
        differs = _take_head(model, task, rest, root=root, config=config, labels=labels[task])
        if differs and heads is not None:
            raise ConfigError(f"init_heads: the head of '{task}' does not fit: {differs}")
        origins[task] = f"{NEW}: {differs}" if differs else BUNDLE
    taken = [task for task, origin in origins.items() if origin == BUNDLE]
    heads_from = {f"head of {task}": origin for task, origin in origins.items()}
    return {"encoder": BUNDLE, **heads_from, **_take_inputs_of_heads(model, rest, taken)}


def _check_shared_encoder(root: Path, folder: str) -> None:
    """Raise ConfigError if each task of a bundle has its own adapter."""
    if stored_config(root).adapter is not None:
        raise ConfigError(
            f"init_from={folder}: its encoder is another for each task (adapter=lora_per_task); "
            f"encoder=path encoder.name={root / 'encoder'} starts from their shared weights"
        )


def _take_head(
    model: MultiTaskModel,
    task: str,
    tensors: Mapping[str, Tensor],
    *,
    root: Path,
    config: Mapping[str, Any],
    labels: list[str],
) -> str:
    """Copy the head of a task if it fits; otherwise return the difference."""
    theirs = stored_config(root).to_json()
    return (
        _other_labels(task, labels, stored_labels(root))
        or _reads_other(task, config, theirs, pools=model.head(task).pools)
        or _take(model.heads[task], _below(tensors, f"heads.{task}."))
    )


def _take_inputs_of_heads(
    model: MultiTaskModel, tensors: Mapping[str, Tensor], taken: Collection[str]
) -> dict[str, str]:
    """Copy the poolings and layer mixes of copied heads, and return the origin of each."""
    origins = {}
    for kind, prefix, modules in (
        ("pooling", "poolings", model.poolings),
        ("mix", "mixes", model.mixes),
    ):
        for task, module in modules.items():
            fits = task in taken and not _take(module, _below(tensors, f"{prefix}.{task}."))
            origins[f"{kind} of {task}"] = BUNDLE if fits else NEW
    fits = bool(taken) and not _take(model.pooling, _below(tensors, "pooling."))
    return {**origins, "pooling": BUNDLE if fits else NEW}


def _other_labels(task: str, ours: list[str], theirs: Mapping[str, list[str]]) -> str:
    if task not in theirs:
        return f"the bundle has heads of {', '.join(theirs)}"
    if theirs[task] != ours:
        return f"its labels are {', '.join(theirs[task])}"
    return ""


def _reads_other(
    task: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], *, pools: bool
) -> str:
    """Return how the input of the stored head differs from that in this run, or an empty text."""
    for key in ("pooling", "layer_mix"):
        here, there = (
            each["tasks"][task].get(key) or (each.get(key) if key == "pooling" else False)
            for each in (ours, theirs)
        )
        if here != there and (pools or key == "layer_mix"):
            return f"it was trained with {key} {_short(there)}, here it is {_short(here)}"
    return ""


def _short(node: Any) -> str:
    return node["_target_"].rpartition(".")[2] if isinstance(node, Mapping) else str(node)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _take(module: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Load the tensors if their names and shapes fit; otherwise return the difference."""
    ours = {key: list(tensor.shape) for key, tensor in module.state_dict().items()}
    theirs = {key: list(tensor.shape) for key, tensor in tensors.items()}
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            there, here = theirs.get(key, "missing"), ours.get(key, "missing")
            return f"the shape of {key} is {there} in the bundle, and {here} in this run"
    module.load_state_dict(dict(tensors))
    return ""
