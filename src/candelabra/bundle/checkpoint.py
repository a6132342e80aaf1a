"""Start from a fine-tuned checkpoint of transformers: its encoder, and on demand its head.

A folder of a `...ForSequenceClassification` or `...ForTokenClassification` has one head without a
name. The task that takes it is named by `init_heads=[TASK]`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candelabra.bundle.folder import read_json
from candelabra.errors import BundleError, ConfigError, nearest
from candelabra.files import checksum

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from candelabra.model.multitask import MultiTaskModel

WEIGHTS = "model.safetensors"
TEXT, WORDS = "ForSequenceClassification", "ForTokenClassification"
CHECKPOINT, NEW = "checkpoint", "new"
_CLASSIFIER = ("classifier.dense", "classifier.out_proj")
TEXT_LAYERS = {
    "bert": ("bert.pooler.dense", "classifier"),
    "camembert": _CLASSIFIER,
    "mpnet": _CLASSIFIER,
    "roberta": _CLASSIFIER,
    "xlm-roberta": _CLASSIFIER,
}
"""`model_type` -> names of the tanh layer over [CLS] and of the output layer."""


def is_checkpoint(folder: Path) -> bool:
    """Return whether a folder is a fine-tuned checkpoint of transformers."""
    if not (folder / "config.json").is_file() or (folder / "heads.safetensors").exists():
        return False
    return any(_kind(name) for name in _architectures(folder))


def check_checkpoint(folder: Path, heads: Collection[str], tasks: Collection[str]) -> None:
    """Check the names and files, without importing large libraries.

    Args:
        folder: Folder of the checkpoint.
        heads: Tasks that take its head.
        tasks: Tasks of the run.

    Raises:
        BundleError: The weights are missing.
        ConfigError: More than one task takes the head, or a task is unknown.
    """
    if not (folder / WEIGHTS).is_file():
        raise BundleError(f"init_from={folder}: has no file {WEIGHTS}")
    if len(heads) > 1:
        raise ConfigError(
            f"init_heads must name one task at most, since init_from={folder} has one head; got "
            f"{', '.join(heads)}"
        )
    for head in heads:
        if head not in tasks:
            raise ConfigError(
                f"init_heads must name tasks of the run ({', '.join(tasks)}), got {head!r}"
                f"{nearest(head, tasks)}"
            )


def fingerprint(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the weights."""
    return {WEIGHTS: checksum(folder / WEIGHTS)}


def start_from_checkpoint(
    model: MultiTaskModel,
    folder: Path,
    *,
    config: Mapping[str, Any],
    labels: Mapping[str, list[str]],
    heads: Collection[str],
) -> dict[str, str]:
    """Load the encoder of a checkpoint, and its head into the named task.

    Args:
        model: Model whose weights are replaced.
        folder: Folder of the checkpoint.
        config: Nodes `pooling` and `tasks` of the run, as plain values.
        labels: Label names of each task of the run.
        heads: The task that takes the head, or none.

    Returns:
        Part, as in the table of the model -> `checkpoint` or `new`.

    Raises:
        ConfigError: The encoder is another one, or the head does not fit the task's.
    """
    theirs = _opened(folder)
    base = getattr(theirs, theirs.base_model_prefix)
    state = {k: v for k, v in base.state_dict().items() if not k.startswith("pooler.")}
    _load(model.encoder.backbone, state, f"init_from={folder}: its encoder is not the run's")
    for task in heads:
        _take_head(model, theirs, folder, task=task, config=config, labels=labels[task])
    origins = {f"head of {task}": CHECKPOINT if task in heads else NEW for task in model.heads}
    return {"encoder": CHECKPOINT, **origins}


def _architectures(folder: Path) -> list[str]:
    names = read_json(folder / "config.json").get("architectures")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _kind(architecture: str) -> str:
    return next((kind for kind in (TEXT, WORDS) if architecture.endswith(kind)), "")


def _opened(folder: Path) -> PreTrainedModel:
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        PreTrainedModel,
    )

    kind = next(filter(None, map(_kind, _architectures(folder))))
    opener = AutoModelForSequenceClassification if kind == TEXT else AutoModelForTokenClassification
    try:
        opened, loading = opener.from_pretrained(
            str(folder),
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"init_from={folder}: cannot be opened: {reason}") from error
    lost = sorted(loading["missing_keys"])
    if lost:  # transformers draws them at random
        raise BundleError(f"init_from={folder}: {WEIGHTS} lacks {lost[0]}")
    assert isinstance(opened, PreTrainedModel)
    return opened


def _take_head(
    model: MultiTaskModel,
    theirs: PreTrainedModel,
    folder: Path,
    *,
    task: str,
    config: Mapping[str, Any],
    labels: list[str],
) -> None:
    where = f"init_heads: the head of init_from={folder} does not fit tasks.{task}"
    order = _order(theirs, labels, where)
    layers = _layers(theirs, where)
    head = model.head(task)
    wanted = "classification" if len(layers) == 2 else "tagging"
    option = "mlp" if len(layers) == 2 else "tagging"
    ours = head.linears()
    parameters = sum(1 for _ in head.parameters())
    if head.kind != wanted or len(ours) != len(layers) or parameters != 2 * len(layers):
        raise ConfigError(f"{where}: it is that of head@tasks.{task}.head={option}")
    if wanted == "classification":
        node = config["tasks"][task].get("pooling") or config["pooling"]
        if str(node["_target_"]).rpartition(".")[2] != "cls":
            raise ConfigError(f"{where}: it reads the first token, as pooling=cls does")
    for place, (mine, layer) in enumerate(zip(ours, layers, strict=True)):
        state = layer.state_dict()
        if place == len(layers) - 1:
            state = {key: tensor[order] for key, tensor in state.items()}
        _load(mine, state, where)


def _order(theirs: PreTrainedModel, labels: list[str], where: str) -> list[int]:
    """Return the position in the checkpoint of each label, by its name."""
    names = {str(name): int(position) for position, name in (theirs.config.id2label or {}).items()}
    if set(names) != set(labels):
        raise ConfigError(
            f"{where}: its labels are {', '.join(names)}, and those of the task {', '.join(labels)}"
        )
    return [names[label] for label in labels]


def _layers(theirs: PreTrainedModel, where: str) -> list[nn.Module]:
    """Return the linear layers of the checkpoint's head.

    Raises:
        ConfigError: The head has other layers than ours.
    """
    kind = theirs.config.model_type
    if type(theirs).__name__.endswith(WORDS):
        names: tuple[str, ...] = ("classifier",)
        beyond = [n for n, _ in theirs.named_children() if n != theirs.base_model_prefix]
        known = set(beyond) <= {"classifier", "dropout", "drop"}
    else:
        names, known = TEXT_LAYERS.get(kind, ()), kind in TEXT_LAYERS
    if not known:
        raise ConfigError(f"{where}: heads of {type(theirs).__name__} have other layers than ours")
    return [theirs.get_submodule(name) for name in names]


def _load(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    ours = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in state.items()}
    for key in sorted(ours.keys() | found.keys()):
        if ours.get(key) != found.get(key):
            there, here = found.get(key, "not"), ours.get(key, "not")
            raise ConfigError(f"{where}: {key} is {there} there, and {here} here")
    module.load_state_dict(dict(state))
