"""One encoder and its named heads: a plain nn.Module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from candelabra.errors import ConfigError, naming, nearest
from candelabra.model.adapters import adapter_of, choose, each
from candelabra.model.encoder import Encoder
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.heads import Head
from candelabra.model.layer_mix import LayerMix
from candelabra.model.pooling import ClsPooler, FunctionPooling
from candelabra.records import Batch, Encoded, Tokens


class MultiTaskModel(nn.Module):
    """One stem, several lights.

    Args:
        encoder: The shared encoder.
        heads: A head for each task.
        pooling: The run's pooling, (hidden_BLD, mask_BL) -> sentence_BD.
        poolings: The tasks that pool in another way.
        mixes: The tasks that read a mix of all layers.
        freezer: Owner of `requires_grad`; None lets everything learn.
    """

    def __init__(
        self,
        encoder: Encoder,
        heads: Mapping[str, Head],
        *,
        pooling: nn.Module,
        poolings: Mapping[str, nn.Module] | None = None,
        mixes: Mapping[str, LayerMix] | None = None,
        freezer: Freezer | None = None,
    ) -> None:
        super().__init__()
        for task in heads:
            if hasattr(nn.ModuleDict, task):
                raise ConfigError(f"tasks.{task}: torch keeps this name for itself; take another")
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)
        self.pooling = pooling
        self.poolings = nn.ModuleDict(poolings or {})
        self.mixes = nn.ModuleDict(mixes or {})
        self.freezer = freezer
        self.judged: frozenset[str] = frozenset()  # tasks that are not learnt from
        self.origins: dict[str, str] = {}  # part -> where its weights come from, if from a bundle

    def forward(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Training: a pass of the encoder for each task, at its own length.

        One concatenated pass would pad short texts to the longest task's length.
        """
        return {task: self.respond(task, batch) for task, batch in batches.items()}

    def respond(self, task: str, batch: Batch) -> Tensor:
        """The logits of a task's own batch; in parts where its head wants that while it learns."""
        size = self.head(task).part_size
        if size is None or not self.training:
            return self.answer(task, self.encode(batch, [task]), batch.first_BW)

        def part(*tensors: Tensor) -> Tensor:
            texts = tuple(map(Tokens, tensors[::2], tensors[1::2]))
            return self.answer(task, self.encode(replace(batch, texts=texts), [task]), None)

        whole = [tensor for text in batch.texts for tensor in (text.ids_BL, text.mask_BL)]
        parts = zip(*(tensor.split(size) for tensor in whole), strict=True)
        return torch.cat([checkpoint(part, *tensors, use_reentrant=False) for tensors in parts])

    def encode(self, batch: Batch, readers: Sequence[str]) -> tuple[Encoded, ...]:
        """A pass of the encoder for each text column.

        Args:
            batch: Of any task.
            readers: The tasks whose heads are to answer it; one, where each has its own adapter.
        """
        if self.encoder.adapts_per_task:
            (task,) = readers
            choose(self.encoder, task)
        mixed = any(task in self.mixes for task in readers)
        return tuple(self.encoder(tokens, every_layer=mixed) for tokens in batch.texts)

    def serve(self, tokens: Tokens, first_BW: Tensor | None) -> dict[str, Tensor]:
        """Inference: one pass of the encoder serves all heads that answer a single text."""
        if self.encoder.adapts_per_task:
            passes = each(self.encoder, tokens, every_layer=len(self.mixes) > 0)
        else:
            passes = dict.fromkeys(
                self.heads, self.encoder(tokens, every_layer=len(self.mixes) > 0)
            )
        alone = [task for task in self.heads if self.head(task).alone]
        return {task: self.answer(task, (passes[task],), first_BW) for task in alone}

    def sentences(self, tokens: Tokens, task: str | None = None) -> Tensor:
        """Inference: the sentence embeddings of texts, (B, D).

        Args:
            tokens: The texts.
            task: Whose pooling, mix and adapter are used; None: the run's pooling.

        Raises:
            ValueError: See `check_reader`.
        """
        self.check_reader(task)
        if task is None:
            text = self.encoder(tokens)
            return self.pooling(text.hidden_BLD, text.mask_BL)
        if self.encoder.adapts_per_task:
            choose(self.encoder, task)
        text = self.encoder(tokens, every_layer=task in self.mixes)
        if task in self.mixes:
            text = self.mixes[task](text)
        return self.pooling_of(task)(text.hidden_BLD, text.mask_BL)

    def answer_alone(self, task: str, tokens: Tokens) -> Tensor:
        """Inference: the logits of one task, by a pass of its own."""
        if self.encoder.adapts_per_task:
            choose(self.encoder, task)
        return self.answer(task, (self.encoder(tokens, every_layer=task in self.mixes),), None)

    def check_reader(self, task: str | None) -> None:
        """Raises ValueError where there is no such task, or none although adapters differ."""
        tasks = ", ".join(self.heads)
        if task is None and self.encoder.adapts_per_task:
            raise ValueError(f"each task has its own adapter: task must be one of {tasks}")
        if task is not None and task not in self.heads:
            raise ValueError(
                f"task must be one of {tasks or 'none'}, got {task!r}{nearest(task, self.heads)}"
            )

    def pooling_of(self, task: str) -> nn.Module:
        """The task's own pooling, or the run's."""
        return self.poolings[task] if task in self.poolings else self.pooling  # noqa: SIM401

    def answer(self, task: str, encoded: tuple[Encoded, ...], first_BW: Tensor | None) -> Tensor:
        """The logits of a task's head, from what the encoder made of any texts."""
        if task in self.mixes:
            encoded = tuple(self.mixes[task](text) for text in encoded)
        return self.head(task)(encoded, self.pooling_of(task), first_BW)

    @property
    def idle(self) -> list[nn.Module]:
        """Poolings that no head reads: they cannot learn, and several processes would wait."""
        used = {task for task in self.heads if self.head(task).pools} - self.judged
        own = [pooling for task, pooling in self.poolings.items() if task not in used]
        return own if used - set(self.poolings) else [self.pooling, *own]

    @property
    def fixed(self) -> list[nn.Parameter]:
        """What no freeze scheme lets learn: the encoder's own weights under adapters."""
        return self.encoder.fixed

    def parts_of(self, task: str) -> list[nn.Module]:
        """What belongs to one task: its head, and a pooling, a mix and an adapter of its own."""
        owned = (self.heads, self.poolings, self.mixes)
        adapter = adapter_of(self.encoder, task) if task in self.encoder.adapters else []
        return [*(modules[task] for modules in owned if task in modules), *adapter]

    def head(self, task: str) -> Head:
        """The head of a task."""
        head = self.heads[task]
        assert isinstance(head, Head)
        return head

    def train(self, mode: bool = True) -> MultiTaskModel:
        """As in torch, but frozen parts stay in eval mode."""
        super().train(mode)
        if self.freezer is not None:
            self.freezer.hold(self)
        return self


Node = Mapping[str, Any]


def assemble(
    encoder: Encoder,
    *,
    pooling: Node,
    tasks: Mapping[str, Node],
    labels: Mapping[str, list[str]],
    make: Callable[[Node], partial[Any]],
    freezer: Freezer | None = None,
) -> MultiTaskModel:
    """A model from the nodes of a configuration, or of a bundle.

    Args:
        encoder: The shared encoder.
        pooling: The node of the run's pooling.
        tasks: For each task a node with `head` and, where it pools in another way, `pooling`;
            with `layer_mix: true` it reads a mix of all layers, with `cross: true` pairs of texts
            in one sequence; with `train: false` it is not learnt from.
        labels: The label names of each task.
        make: Node -> what it names, with its settings bound.
        freezer: Owner of `requires_grad`.
    """

    def pool(node: Node, key: str) -> nn.Module:
        made = make(node)
        with naming(key):
            # A class has parameters and wants the width; a function has none.
            is_class = isinstance(made.func, type)
            return made(width=encoder.width) if is_class else FunctionPooling(made)

    def head(name: str) -> Head:
        made = make(tasks[name]["head"])
        with naming(f"tasks.{name}.head"):
            found: Head = made(width=encoder.width, labels=labels[name])
        if tasks[name].get("cross"):
            found.alone = False  # it reads two texts in one sequence
        return found

    model = MultiTaskModel(
        encoder,
        {name: head(name) for name in tasks},
        pooling=pool(pooling, "pooling"),
        poolings={
            name: pool(task["pooling"], f"tasks.{name}.pooling")
            for name, task in tasks.items()
            if task.get("pooling") is not None
        },
        mixes={
            name: LayerMix(len(encoder.layers) + 1)
            for name, task in tasks.items()
            if task.get("layer_mix")
        },
        freezer=freezer,
    )
    model.judged = frozenset(name for name, task in tasks.items() if not task.get("train", True))
    return model


def start_from_pooler(model: MultiTaskModel) -> None:
    """Gives every `cls_pooler` the weights of the checkpoint's own pooler, where it has one."""
    if model.encoder.pooler is not None:
        for pooling in (model.pooling, *model.poolings.values()):
            if isinstance(pooling, ClsPooler):
                pooling.dense.load_state_dict(model.encoder.pooler)
