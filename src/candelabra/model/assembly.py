"""Build a multi-task model from the config nodes of a run or a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from candelabra.errors import ConfigError, naming
from candelabra.model.encoder import Encoder
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.heads.base import Head
from candelabra.model.internals import is_causal
from candelabra.model.layer_mix import LayerMix
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.pooling import ClsPooler, FunctionPooling, fixed_name, out_width
from candelabra.model.sentence_modules import SentenceModules

Node = Mapping[str, Any]
Maker = Callable[[Node], partial[Any]]


def assemble(
    encoder: Encoder,
    *,
    pooling: Node,
    tasks: Mapping[str, Node],
    labels: Mapping[str, list[str]],
    make: Maker,
    freezer: Freezer | None = None,
) -> MultiTaskModel:
    """Build a model from the config nodes of a run or a bundle.

    Args:
        encoder: The shared encoder.
        pooling: Config node of the default pooling.
        tasks: Config node of each task. `head` is required. Optional keys: `pooling` replaces the
            default pooling, `layer_mix: true` adds a layer mix, `cross: true` encodes the texts of
            a pair as one sequence, and `train: false` marks a task that is only evaluated.
        labels: Label names of each task.
        make: Function from a node to its target with the node's settings bound.
        freezer: Object that sets `requires_grad`.

    Returns:
        The model.

    Raises:
        ConfigError: If a head or pooling rejects its settings, or a task's name is reserved.
    """
    shared = _pooling(make, pooling, encoder, key="pooling")
    poolings = {
        name: _pooling(make, task["pooling"], encoder, key=f"tasks.{name}.pooling")
        for name, task in tasks.items()
        if task.get("pooling") is not None
    }
    model = MultiTaskModel(
        encoder,
        {
            name: _head(
                make,
                task,
                (encoder.width, out_width(poolings.get(name, shared), encoder.width)),
                labels[name],
                key=f"tasks.{name}.head",
            )
            for name, task in tasks.items()
        },
        pooling=shared,
        poolings=poolings,
        mixes={
            name: LayerMix(len(encoder.layers) + 1)
            for name, task in tasks.items()
            if task.get("layer_mix")
        },
        freezer=freezer,
    )
    model.eval_only = frozenset(name for name, task in tasks.items() if not task.get("train", True))
    return model


def _pooling(make: Maker, node: Node, encoder: Encoder, *, key: str) -> nn.Module:
    made = make(node)
    with naming(key, node):
        # Only poolings that are classes have parameters, whose shapes depend on the width.
        is_class = isinstance(made.func, type)
        pooling = made(width=encoder.width) if is_class else FunctionPooling(made)
    if _reads_first_token(pooling) and is_causal(encoder.backbone):
        raise ConfigError(
            f"{key} must not read the first token of {type(encoder.backbone).__name__}, a decoder: "
            "it does not depend on the text; take last_token or mean"
        )
    return pooling


def _reads_first_token(pooling: nn.Module) -> bool:
    modes = pooling.modes if isinstance(pooling, SentenceModules) else ()
    return isinstance(pooling, ClsPooler) or fixed_name(pooling) == "cls" or modes == ("cls",)


def _head(
    make: Maker, task: Node, widths: tuple[int, int], labels: Sequence[str], *, key: str
) -> Head:
    """Build a head for the width of what it takes: of a token embedding, or of a pooled one."""
    made = make(task["head"])
    with naming(key, task["head"]):
        head: Head = made(width=widths[bool(getattr(made.func, "pools", True))], labels=labels)
    if task.get("cross"):
        head.alone = False  # A cross-encoder needs both texts of a pair.
    return head


def start_from_pooler(model: MultiTaskModel) -> None:
    """Load the weights that the checkpoint has for poolings.

    A `cls_pooler` starts from the checkpoint's pooler, and `modules` from the layers of a folder
    that SentenceTransformer saved.

    Raises:
        ConfigError: If the layers of that folder do not fit.
    """
    own = {f"tasks.{name}.pooling": pooling for name, pooling in model.poolings.items()}
    for key, pooling in {"pooling": model.pooling, **own}.items():
        if isinstance(pooling, ClsPooler) and model.encoder.pooler is not None:
            pooling.dense.load_state_dict(model.encoder.pooler)
        if isinstance(pooling, SentenceModules) and model.encoder.sentence_folder is not None:
            with naming(key, ["layers"]):
                pooling.load_folder(model.encoder.sentence_folder)
