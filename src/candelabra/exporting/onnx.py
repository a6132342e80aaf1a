"""Export to one ONNX graph that computes the sentence embedding and every head's logits.

Shapes: B texts, L token positions, D encoder width, C outputs of a head.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from candelabra.bundle.bundle import Bundle
from candelabra.errors import ConfigError
from candelabra.exporting.formats import ONNX, ExportResult, check_prompt, refusal
from candelabra.exporting.onnx_snippet import USAGE, WITH_TAGS
from candelabra.exporting.supported_heads import check_head
from candelabra.exporting.tokenizer import INPUTS, save_tokenizer
from candelabra.files import write_json
from candelabra.records import Tokens

EMBEDDING = "embedding"
FILE, INT8 = "model.onnx", "model_int8.onnx"
TOLERANCE = 1e-4
SIZES = ((1, 1), (1, 7), (3, 12), (8, 5), (2, 0))
"""Batch sizes and lengths at which the graph is verified; length 0 is the bundle's maximum."""
WORDS = (
    "Tagging heads return logits for every token. The tag of a word is that of its first token, as "
    "in the code above."
)


class Graph(nn.Module):
    """Module to be exported: token ids and mask -> sentence embedding and each head's logits.

    Args:
        bundle: The bundle to export, reduced to `task` if one is given.
        task: Task whose pooling computes the embedding. `None` uses the default pooling.

    Attributes:
        logits: Tasks whose heads have logits, in the order of the outputs.
    """

    def __init__(self, bundle: Bundle, task: str | None) -> None:
        super().__init__()
        self.model = bundle.model
        self.task = task
        self.normalize = bundle.config.normalize
        for name in bundle.labels:
            check_head(ONNX, name, bundle.model.head(name))
        self.logits = [name for name in bundle.labels if bundle.model.head(name).has_logits]

    @property
    def outputs(self) -> list[str]:
        """Names of the graph's outputs, in order."""
        return [EMBEDDING, *self.logits]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Return embedding_BD and the logits of each task, (B, C) or for tagging (B, L, C)."""
        model = self.model
        tokens = Tokens(ids_BL=input_ids, mask_BL=attention_mask)
        last = model.encoder(tokens, every_layer=len(model.mixes) > 0)
        mixed = {task: model.mixes[task](last) for task in model.mixes}
        encoded, pooling = last, model.pooling
        if self.task is not None:
            encoded, pooling = mixed.get(self.task, last), model.pooling_of(self.task)
        embedding_BD = pooling(encoded.hidden_BLD, encoded.mask_BL)
        outputs = [F.normalize(embedding_BD) if self.normalize else embedding_BD]
        for task in self.logits:
            encoded = mixed.get(task, last)
            outputs.append(model.head(task).export_logits(encoded, model.pooling_of(task)))
        return tuple(outputs)


def write(bundle: Bundle, folder: Path, task: str | None) -> ExportResult:
    """Write `model.onnx`, the tokenizer, and `config.json` with labels and decoding.

    Args:
        bundle: The bundle to export, reduced to `task` if one is given.
        folder: Existing folder for the files.
        task: Task whose pooling computes the embedding. `None` uses the default pooling.

    Raises:
        ConfigError: If a head cannot be exported, a task has a reserved name, or the graph's
            outputs differ from the bundle's by more than `TOLERANCE`.
    """
    check_prompt(ONNX, bundle.tokenizer.prompt)
    graph = Graph(bundle, task).eval()
    for name in graph.logits:
        if name in (EMBEDDING, *INPUTS):
            raise ConfigError(f"tasks.{name}: format={ONNX} reserves this name")
    save_graph(graph, folder / FILE)
    save_tokenizer(bundle.tokenizer, folder)
    write_json(folder / "config.json", _about(bundle, graph))
    difference = largest_difference(graph, bundle, folder / FILE)
    if difference > TOLERANCE:
        raise refusal(ONNX, f"this model: onnxruntime differs from torch by {difference:.1g}")
    tags = any(bundle.model.head(name).kind == "tagging" for name in graph.logits)
    usage = USAGE + WITH_TAGS if tags else USAGE
    return ExportResult(
        "onnx",
        "feature-extraction",
        usage,
        [WORDS] if tags else [],
        checked=difference,
        tags=["onnx"],
    )


def save_graph(graph: Graph, file: Path) -> None:
    """Export the graph with dynamic batch size and length, and write it to `file`."""
    ids_BL = torch.ones(2, 4, dtype=torch.long)
    free = {name: {0: "batch", 1: "length"} for name in INPUTS}
    with _quietly():
        program = torch.onnx.export(
            graph,
            (ids_BL, torch.ones_like(ids_BL)),
            dynamo=True,
            input_names=list(INPUTS),
            output_names=graph.outputs,
            dynamic_shapes=free,
            verbose=False,
        )
    assert program is not None
    _tidy(program.model)
    program.save(str(file))


def _tidy(model: Any) -> None:
    """Rename internal values to numbers, and remove metadata with paths of this machine.

    Without the renaming, an internal value could have the name of an output, such as `embedding`.
    """
    model.metadata_props.clear()
    outputs = model.graph.outputs
    for place, node in enumerate(model.graph.all_nodes()):
        node.metadata_props.clear()
        node.name, node.doc_string = f"n{place}", None
        for number, value in enumerate(node.outputs):
            value.metadata_props.clear()
            if not any(value is output for output in outputs):
                value.name = f"v{place}_{number}"
    for value in (*model.graph.inputs, *outputs):
        value.metadata_props.clear()


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence warnings and log messages of the exporter and its libraries."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def session(file: Path) -> Any:
    """Open an onnxruntime session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


@torch.inference_mode()
def largest_difference(graph: Graph, bundle: Bundle, file: Path) -> float:
    """Return the largest absolute difference between the outputs of torch and onnxruntime.

    Random texts of several sizes with padding are compared; tagging logits only at tokens.
    """
    opened, generator = session(file), torch.Generator().manual_seed(0)
    vocabulary = len(bundle.tokenizer.tokenizer)
    worst = 0.0
    for texts, longest in SIZES:
        length = min(longest or bundle.tokenizer.max_length, bundle.tokenizer.max_length)
        ids_BL = torch.randint(vocabulary, (texts, length), generator=generator)
        mask_BL = torch.ones_like(ids_BL)
        for row in range(1, texts):
            mask_BL[row, max(1, length - 2 * row) :] = 0
        ids_BL[mask_BL == 0] = bundle.tokenizer.pad_id
        feeds = {"input_ids": ids_BL.numpy(), "attention_mask": mask_BL.numpy()}
        real_BL = mask_BL.bool().numpy()
        for found, expected in zip(opened.run(None, feeds), graph(ids_BL, mask_BL), strict=True):
            differences = np.abs(found - expected.numpy())
            if differences.ndim == 3:
                differences = differences[real_BL]
            worst = max(worst, float(differences.max()))
    return worst


def _about(bundle: Bundle, graph: Graph) -> dict[str, Any]:
    """Return the contents of `config.json`, which describes the outputs."""
    outputs: dict[str, Any] = {}
    for name in graph.logits:
        head = bundle.model.head(name)
        outputs[name] = {"kind": head.kind, "labels": bundle.labels[name], **head.decoding()}
    return {
        "library_name": "onnx",
        "max_length": bundle.tokenizer.max_length,
        "truncation": bundle.tokenizer.truncation,
        EMBEDDING: {
            "width": bundle.model.embedding_width(graph.task),
            "normalized": graph.normalize,
        },
        "tasks": outputs,
    }
