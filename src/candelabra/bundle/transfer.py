"""`init_from=BUNDLE`: a run starts from the weights of a trained bundle.

The encoder's weights are taken in any case, a head's where the task has the same name and labels.
Only tensors and names are read: nothing is built from the bundle's configuration.
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
    """Look at names and files, before anything heavy is imported.

    Args:
        folder: The bundle, a run folder that holds one, or a fine-tuned checkpoint of transformers.
        heads: Heads that have to come from the bundle; None takes those that fit. A checkpoint's
            head is taken only by name.
        tasks: The run's tasks.

    Raises:
        BundleError: It is no bundle.
        ConfigError: A head is no task of the run, or none of the bundle's.
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
    """SHA-256 of the bundle's weights: a resumed run starts from the same."""
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
    """Gives a model the weights of a bundle.

    Args:
        model: Gets the encoder's weights, and those of heads, poolings and mixes.
        folder: The bundle, or a run folder that holds one.
        config: The run's nodes `pooling` and `tasks`, as plain values.
        labels: The label names of each of the run's tasks.
        heads: Heads that have to come from the bundle, with what they read; an empty list
            takes the encoder alone, None every head that fits.

    Returns:
        Part, as in the table of the model -> `bundle`, or `new` and why.

    Raises:
        BundleError: The weights are damaged.
        ConfigError: The encoder is another one, or a head that has to come does not fit.
    """
    from candelabra.bundle.weights import read_tensors

    if is_checkpoint(Path(folder)):
        return start_from_checkpoint(
            model, Path(folder), config=config, labels=labels, heads=list(heads or [])
        )
    root = checked_folder(Path(folder), key="init_from")
    check_checksums(root)
    theirs, their_config = stored_labels(root), stored_config(root)
    if their_config.adapter is not None:
        raise ConfigError(
            f"init_from={folder}: its encoder is another for each task (adapter=lora_per_task); "
            f"encoder=path encoder.name={root / 'encoder'} starts from what they share"
        )
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
        pools = model.head(task).pools
        differs = (
            _other_labels(task, labels[task], theirs)
            or _reads_other(task, config, their_config.to_json(), pools=pools)
            or _take(model.heads[task], _below(rest, f"heads.{task}."))
        )
        if differs and heads is not None:
            raise ConfigError(f"init_heads: the head of '{task}' does not fit: {differs}")
        origins[task] = f"{NEW}: {differs}" if differs else BUNDLE
    taken = [task for task, origin in origins.items() if origin == BUNDLE]
    found = {f"head of {task}": origin for task, origin in origins.items()}
    return {"encoder": BUNDLE, **found, **_take_what_heads_read(model, rest, taken)}


def _take_what_heads_read(
    model: MultiTaskModel, tensors: Mapping[str, Tensor], taken: Collection[str]
) -> dict[str, str]:
    """Poolings and mixes of the heads that came from the bundle; part -> `bundle` or `new`."""
    found = {}
    for kind, prefix, modules in (
        ("pooling", "poolings", model.poolings),
        ("mix", "mixes", model.mixes),
    ):
        for task, module in modules.items():
            fits = task in taken and not _take(module, _below(tensors, f"{prefix}.{task}."))
            found[f"{kind} of {task}"] = BUNDLE if fits else NEW
    fits = bool(taken) and not _take(model.pooling, _below(tensors, "pooling."))
    return {**found, "pooling": BUNDLE if fits else NEW}


def _other_labels(task: str, ours: list[str], theirs: Mapping[str, list[str]]) -> str:
    if task not in theirs:
        return f"the bundle has heads of {', '.join(theirs)}"
    if theirs[task] != ours:
        return f"its labels are {', '.join(theirs[task])}"
    return ""


def _reads_other(
    task: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], *, pools: bool
) -> str:
    """What the head learnt to read, where that is not what it would read here."""
    for key in ("pooling", "layer_mix"):
        here, there = (
            each["tasks"][task].get(key) or (each.get(key) if key == "pooling" else False)
            for each in (ours, theirs)
        )
        if here != there and (pools or key == "layer_mix"):
            return f"it read {key} {_short(there)}, here it is {_short(here)}"
    return ""


def _short(node: Any) -> str:
    return node["_target_"].rpartition(".")[2] if isinstance(node, Mapping) else str(node)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _take(module: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Loads the tensors, or says what is different and loads nothing."""
    ours = {key: list(tensor.shape) for key, tensor in module.state_dict().items()}
    theirs = {key: list(tensor.shape) for key, tensor in tensors.items()}
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            return f"{key} is {theirs.get(key, 'not')} there, and {ours.get(key, 'not')} here"
    module.load_state_dict(dict(tensors))
    return ""
