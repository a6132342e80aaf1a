"""Multi-task model: one shared encoder with named heads, as a plain `nn.Module`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from candelabra.errors import ConfigError, nearest
from candelabra.model.adapters import adapter_of, choose, encode_per_task
from candelabra.model.encoder import Encoder
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.heads.base import Head
from candelabra.model.layer_mix import LayerMix
from candelabra.model.pooling import FunctionPooling, mean, out_width
from candelabra.records import Batch, Encoded, Tokens


class MultiTaskModel(nn.Module):
    """Shared encoder with one head per task.

    Args:
        encoder: The shared encoder.
        heads: Head of each task.
        pooling: Pooling of the other tasks, (hidden_BLD, mask_BL) -> sentence_BD; by default the
            mean of the tokens.
        poolings: Poolings of the tasks that do not use the default.
        mixes: Layer mixes of the tasks whose heads use all encoder layers.
        freezer: Object that sets `requires_grad`. By default, all parameters are trained.

    Attributes:
        eval_only: Names of the tasks that are evaluated but not trained.
        origins: Part of the model -> source of its initial weights, for parts that were loaded
            from a bundle.

    Raises:
        ConfigError: If a task has the name of an attribute of `nn.ModuleDict`.
    """

    def __init__(
        self,
        encoder: Encoder,
        heads: Mapping[str, Head],
        *,
        pooling: nn.Module | None = None,
        poolings: Mapping[str, nn.Module] | None = None,
        mixes: Mapping[str, LayerMix] | None = None,
        freezer: Freezer | None = None,
    ) -> None:
        super().__init__()
        for task in heads:
            if hasattr(nn.ModuleDict, task):
                raise ConfigError(f"a task cannot be named {task!r}, which torch reserves")
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)
        self.pooling = FunctionPooling(mean) if pooling is None else pooling
        self.poolings = nn.ModuleDict(poolings or {})
        self.mixes = nn.ModuleDict(mixes or {})
        self.freezer = freezer
        self.eval_only: frozenset[str] = frozenset()
        self.origins: dict[str, str] = {}

    def forward(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Compute the logits of each task for its own batch.

        Args:
            batches: Task -> batch.

        Returns:
            Task -> logits.
        """
        return {task: self.forward_task(task, batch) for task, batch in batches.items()}

    def forward_task(self, task: str, batch: Batch) -> Tensor:
        """Compute the logits of a task for its own batch.

        In training, a head with a `mini_batch_size` gets its batch encoded in parts whose
        activations are recomputed in the backward pass, unless nothing has to be encoded.
        """
        size = self.head(task).mini_batch_size
        if size is None or not self._in_parts(task, batch):
            return self.apply_head(task, self.encode(batch, [task]), batch.first_BW)

        def logits_of_part(*tensors: Tensor) -> Tensor:
            """Return the logits of a part of the batch, whose texts are ids and masks."""
            texts = tuple(map(Tokens, tensors[::2], tensors[1::2]))
            return self.apply_head(task, self._encode(texts, [task]), None)

        tensors = [tensor for text in batch.texts for tensor in (text.ids_BL, text.mask_BL)]
        parts = zip(*(tensor.split(size) for tensor in tensors), strict=True)
        return torch.cat([checkpoint(logits_of_part, *part, use_reentrant=False) for part in parts])

    def _in_parts(self, task: str, batch: Batch) -> bool:
        """Return whether the batch is encoded in parts that are recomputed for the gradients."""
        in_parts = self.training and self.head(task).mini_batch_size is not None
        return in_parts and not all(map(self.encoder.is_stored, batch.texts))

    def encode_tasks(
        self, batches: Mapping[str, Batch], readers: Sequence[str] = ()
    ) -> dict[str, tuple[Encoded, ...]]:
        """Encode the batches of several tasks in one pass, if the attention can do that.

        With another attention each batch has a pass of its own, since one concatenated batch would
        pad short texts to the length of the longest task.

        Args:
            batches: Task -> batch.
            readers: Other heads that use all results.

        Returns:
            Task -> one `Encoded` per text column. Tasks whose batches are encoded in parts are left
            out, unless there are other readers.
        """
        together: dict[tuple[str, bool], list[str]] = {}
        for task, batch in batches.items():
            if readers or not self._in_parts(task, batch):
                adapter = task if self.encoder.adapts_per_task else ""
                together.setdefault((adapter, self._mixes([task])), []).append(task)
        encoded: dict[str, tuple[Encoded, ...]] = {}
        for tasks in together.values():
            texts = [tokens for task in tasks for tokens in batches[task].texts]
            parts = iter(self._encode(texts, [*tasks, *readers]))
            encoded |= {task: tuple(islice(parts, len(batches[task].texts))) for task in tasks}
        return encoded

    def encode(self, batch: Batch, readers: Sequence[str]) -> tuple[Encoded, ...]:
        """Encode the text columns of a batch.

        Args:
            batch: Batch of any task.
            readers: Tasks whose heads use the result. Exactly one if each task has its own adapter.

        Returns:
            One `Encoded` per text column.
        """
        return self._encode(batch.texts, readers)

    def _encode(self, texts: Sequence[Tokens], readers: Sequence[str]) -> tuple[Encoded, ...]:
        if self.encoder.adapts_per_task:
            (task,) = readers
            choose(self.encoder, task)
        return tuple(self.encoder.encode(texts, every_layer=self._mixes(readers)))

    def _mixes(self, tasks: Sequence[str]) -> bool:
        return any(task in self.mixes for task in tasks)

    def infer_all(self, tokens: Tokens, first_BW: Tensor | None) -> dict[str, Tensor]:
        """Compute the logits of all heads that take a single text.

        The encoder runs once for all heads, or once per adapter if each task has its own.

        Args:
            tokens: The tokenized texts.
            first_BW: Position of the first piece of each word; -1 for removed words and padding.

        Returns:
            Task -> logits.
        """
        mixed, alone = len(self.mixes) > 0, [task for task in self.heads if self.head(task).alone]
        if self.encoder.adapts_per_task:
            passes = encode_per_task(self.encoder, tokens, every_layer=mixed)
        else:
            passes = dict.fromkeys(self.heads, self.encoder(tokens, every_layer=mixed))
        return {task: self.apply_head(task, (passes[task],), first_BW) for task in alone}

    def infer_task(self, task: str, tokens: Tokens) -> Tensor:
        """Compute the logits of a cross-encoder, whose head takes two texts in one sequence.

        `infer_all` leaves such heads out, because a single text is no input for them.
        """
        return self.apply_head(task, self._encode([tokens], [task]), None)

    def embed(self, tokens: Tokens, task: str | None = None) -> Tensor:
        """Compute the sentence embeddings of texts.

        Args:
            tokens: The tokenized texts.
            task: Task whose pooling, layer mix and adapter are used. By default, the default
                pooling over the last layer.

        Returns:
            Embeddings (B, D), not normalized.

        Raises:
            ValueError: If there is no such task, or `task` is missing although each task has its
                own adapter.
        """
        self.check_reader(task)
        (text,) = self._encode([tokens], [] if task is None else [task])
        if task is None:
            return self.pooling(text.hidden_BLD, text.mask_BL)
        if task in self.mixes:
            text = self.mixes[task](text)
        return self.pooling_of(task)(text.hidden_BLD, text.mask_BL)

    def check_reader(self, task: str | None) -> None:
        """Raise ValueError if `task` is unknown, or `None` although each task has an adapter."""
        tasks = ", ".join(self.heads)
        if task is None and self.encoder.adapts_per_task:
            raise ValueError(f"each task has its own adapter: task must be one of {tasks}")
        if task is not None and task not in self.heads:
            raise ValueError(
                f"task must be one of {tasks or 'none'}, got {task!r}{nearest(task, self.heads)}"
            )

    def pooling_of(self, task: str) -> nn.Module:
        """Return the pooling of a task: its own or the default."""
        return self.poolings[task] if task in self.poolings else self.pooling  # noqa: SIM401

    def embedding_width(self, task: str | None = None) -> int:
        """Return the width of a sentence embedding, by default with the default pooling."""
        pooling = self.pooling if task is None else self.pooling_of(task)
        return out_width(pooling, self.encoder.width)

    def apply_head(
        self, task: str, encoded: tuple[Encoded, ...], first_BW: Tensor | None
    ) -> Tensor:
        """Apply the layer mix, pooling and head of a task and return its logits."""
        if task in self.mixes:
            encoded = tuple(self.mixes[task](text) for text in encoded)
        return self.head(task)(encoded, self.pooling_of(task), first_BW)

    @property
    def idle(self) -> list[nn.Module]:
        """Poolings that no trained head uses.

        They get no gradient, and DistributedDataParallel would wait for it.
        """
        used = {task for task in self.heads if self.head(task).pools} - self.eval_only
        own = [pooling for task, pooling in self.poolings.items() if task not in used]
        return own if used - set(self.poolings) else [self.pooling, *own]

    @property
    def resting(self) -> list[nn.Module]:
        """Modules that stay frozen under every scheme: those below the encoder's adapters."""
        return self.encoder.below_adapters

    @property
    def fixed(self) -> list[nn.Parameter]:
        """Parameters that stay frozen under every scheme: the encoder's own if it has adapters."""
        return self.encoder.fixed

    def parts_of(self, task: str) -> list[nn.Module]:
        """Return the modules of one task: its head and its own pooling, layer mix and adapter."""
        owned = (self.heads, self.poolings, self.mixes)
        adapter = adapter_of(self.encoder, task) if task in self.encoder.adapters else []
        return [*(modules[task] for modules in owned if task in modules), *adapter]

    def head(self, task: str) -> Head:
        """Return the head of a task."""
        head = self.heads[task]
        assert isinstance(head, Head)
        return head

    def train(self, mode: bool = True) -> MultiTaskModel:
        """Set the training mode as in torch, but keep frozen modules in eval mode."""
        super().train(mode)
        if self.freezer is not None:
            self.freezer.keep_frozen_in_eval(self)
        return self
