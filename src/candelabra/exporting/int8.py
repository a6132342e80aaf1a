"""Measure the quality that an ONNX graph loses with int8 weights.

Shapes: B texts, W words, L token positions, C outputs of a head.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from candelabra.data.collate import TokenizedSplit, longest_first
from candelabra.data.tokens import TextTokenizer
from candelabra.exporting.onnx import FILE, INT8
from candelabra.model.heads.base import Head
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.onnx_graph import session
from candelabra.records import Batch, Examples
from candelabra.tables import Progress

BATCH = 32
SEED = 0
"""Seed of the sample when only some examples are measured."""

TestData = tuple[Mapping[str, TokenizedSplit], Mapping[str, Metric | MetricCollection]]
"""Examples and metrics of each task."""


@dataclass(frozen=True)
class GraphComparison:
    """Quality and speed of the float32 and the int8 graph on the same texts.

    Attributes:
        metrics: File -> values by `<split>/<task>/<metric>`.
        per_second: File -> texts per second, over all tasks.
        sizes: Task -> number of examples.
    """

    metrics: dict[str, dict[str, float]]
    per_second: dict[str, float]
    sizes: dict[str, int]


def tokenized(examples: Examples, tokenizer: TextTokenizer, limit: int | None) -> TokenizedSplit:
    """Tokenize all examples, or a random sample of `limit` examples with a fixed seed."""
    if limit is not None and limit < len(examples):
        rows = np.random.default_rng(SEED).permutation(len(examples))[:limit]
        examples = examples.take(np.sort(rows).tolist())
    texts = tuple(tokenizer(column, examples.words) for column in examples.texts)
    return TokenizedSplit(examples, texts, tokenizer.pad_id)


def measure(
    folder: Path,
    model: MultiTaskModel,
    splits: Mapping[str, TokenizedSplit],
    metrics: Mapping[str, Metric | MetricCollection],
    *,
    split: str,
) -> GraphComparison:
    """Measure each task's metrics with onnxruntime in float32 and in int8.

    Args:
        folder: Folder with both graphs.
        model: Model whose heads decode the logits.
        splits: Examples of each task.
        metrics: Metrics of each task.
        split: Name of the split, used in the keys of the result.
    """
    found: dict[str, dict[str, float]] = {}
    pace: dict[str, float] = {}
    total = 2 * sum(len(each) for each in splits.values())
    with Progress("measuring", total=total) as progress:
        for file in (FILE, INT8):
            opened, begin = session(folder / file), time.perf_counter()
            scores: dict[str, float] = {}
            for task, tokens in splits.items():
                for batch in _batches(tokens):
                    logits = _logits(opened, task, batch, model.head(task))
                    predictions = model.head(task).decode(logits, batch.first_BW)
                    metrics[task].update(predictions, batch.labels)
                    progress.advance(batch.num_examples)
                scores |= {
                    f"{split}/{task}/{key}": float(value)
                    for key, value in metrics[task].compute().items()
                    if "/" not in key
                }
                metrics[task].reset()
            found[file] = scores
            pace[file] = total / 2 / (time.perf_counter() - begin)
    return GraphComparison(found, pace, {task: len(each) for task, each in splits.items()})


def _batches(split: TokenizedSplit) -> list[Batch]:
    return [split.batch(rows) for rows in longest_first(split.lengths, BATCH)]


def _logits(opened: Any, task: str, batch: Batch, head: Head) -> Tensor:
    """Return logits in the shape of the head's own output: (B, C), (B), or (B, W, C)."""
    (tokens,) = batch.texts
    feeds = {"input_ids": tokens.ids_BL.numpy(), "attention_mask": tokens.mask_BL.numpy()}
    (found,) = opened.run([task], feeds)
    logits = torch.from_numpy(found)
    if batch.first_BW is not None:
        index = batch.first_BW.clamp(min=0)[..., None].expand(-1, -1, logits.shape[-1])
        return logits.gather(1, index)
    return logits if head.labels else logits.squeeze(-1)
