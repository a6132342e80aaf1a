"""Measure the quality that an ONNX graph loses with int8 weights.

Shapes: B texts, W words, L token positions, C outputs of a head.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
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
    by_file: dict[str, dict[str, float]] = {}
    per_second: dict[str, float] = {}
    total = 2 * sum(len(each) for each in splits.values())
    with Progress("measuring", total=total) as progress:
        for file in (FILE, INT8):
            opened, begin = session(folder / file), time.perf_counter()
            scores: dict[str, float] = {}
            for task, tokens in splits.items():
                run = partial(_logits, opened, task, head=model.head(task))
                values = _evaluate(run, model.head(task), tokens, metrics[task], progress)
                scores |= {f"{split}/{task}/{name}": value for name, value in values.items()}
            by_file[file] = scores
            per_second[file] = total / 2 / (time.perf_counter() - begin)
    sizes = {task: len(tokens) for task, tokens in splits.items()}
    return GraphComparison(by_file, per_second, sizes)


def _evaluate(
    run: Callable[[Batch], Tensor],
    head: Head,
    split: TokenizedSplit,
    metrics: Metric | MetricCollection,
    progress: Progress,
) -> dict[str, float]:
    """Return the metrics of one task, without those of single labels."""
    for rows in longest_first(split.lengths, BATCH):
        batch = split.batch(rows)
        metrics.update(head.decode(run(batch), batch.first_BW), batch.labels)
        progress.advance(batch.num_examples)
    values = {name: float(value) for name, value in metrics.compute().items() if "/" not in name}
    metrics.reset()
    return values


def _logits(opened: Any, task: str, batch: Batch, *, head: Head) -> Tensor:
    """Run the graph, and return logits in the shape of the head's: (B, C), (B), or (B, W, C)."""
    (tokens,) = batch.texts
    feeds = {"input_ids": tokens.ids_BL.numpy(), "attention_mask": tokens.mask_BL.numpy()}
    (found,) = opened.run([task], feeds)
    logits = torch.from_numpy(found)
    if batch.first_BW is not None:
        index = batch.first_BW.clamp(min=0)[..., None].expand(-1, -1, logits.shape[-1])
        return logits.gather(1, index)
    return logits if head.labels else logits.squeeze(-1)
