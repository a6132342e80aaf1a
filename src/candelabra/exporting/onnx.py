"""One ONNX graph: one pass of the encoder, the sentence embedding and every head's logits.

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

from candelabra.bundle import Bundle
from candelabra.errors import ConfigError
from candelabra.exporting.formats import ONNX, Written, refusal
from candelabra.exporting.heads import Logits, carried
from candelabra.exporting.onnx_use import USAGE, WITH_TAGS
from candelabra.exporting.tokenizing import INPUTS, save_tokenizer
from candelabra.files import write_json
from candelabra.model.crf import FORBIDDEN, CrfHead
from candelabra.model.heads import Head
from candelabra.model.multilabel import MultiLabelHead
from candelabra.model.tagging import TaggingHead
from candelabra.records import Tokens

EMBEDDING = "embedding"
FILE, INT8 = "model.onnx", "model_int8.onnx"
TOLERANCE = 1e-4
SIZES = ((1, 1), (1, 7), (3, 12), (8, 5), (2, 0))
"""(texts, longest text) at which the graph is checked; 0: as long as the bundle allows."""
WORDS = (
    "Tagging heads answer every token; the tags of a word are those of its first piece, as the "
    "card's code takes them."
)


class Graph(nn.Module):
    """What is exported: ids, mask -> the sentence embedding, then each head's logits.

    Args:
        bundle: Of one task, where one is named.
        task: Whose pooling gives the embedding; None: the run's.

    Attributes:
        logits: Task -> how its logits come, for the heads that have some.
    """

    def __init__(self, bundle: Bundle, task: str | None) -> None:
        super().__init__()
        self.model = bundle.model
        self.task = task
        self.normalize = bool(bundle.config.get("normalize", True))
        self.logits: dict[str, Logits] = {}
        for name in bundle.labels:
            of = carried(ONNX, name, bundle.model.head(name)).logits
            if of is not None:
                self.logits[name] = of

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        return [EMBEDDING, *self.logits]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """(embedding_BD, logits of each task: (B, C), or (B, L, C) of tags)."""
        model = self.model
        tokens = Tokens(ids_BL=input_ids, mask_BL=attention_mask)
        plain = model.encoder(tokens, every_layer=len(model.mixes) > 0)
        read = {task: model.mixes[task](plain) for task in model.mixes}
        text, pooling = plain, model.pooling
        if self.task is not None:
            text, pooling = read.get(self.task, plain), model.pooling_of(self.task)
        found = [pooling(text.hidden_BLD, text.mask_BL)]
        if self.normalize:
            found = [F.normalize(found[0])]
        for task, logits in self.logits.items():
            found.append(logits(model.head(task), read.get(task, plain), model.pooling_of(task)))
        return tuple(found)


def write(bundle: Bundle, folder: Path, task: str | None) -> Written:
    """Writes `model.onnx`, the tokenizer, and `config.json` with labels and decoding.

    Args:
        bundle: Of one task, where one is named.
        folder: Gets the files.
        task: Whose pooling gives the embedding; None: the run's.

    Raises:
        ConfigError: A head is not carried, a task's name is taken by the graph, or the graph does
            not compute what the bundle does.
    """
    graph = Graph(bundle, task).eval()
    for name in graph.logits:
        if name in (EMBEDDING, *INPUTS):
            raise ConfigError(f"tasks.{name}: format={ONNX} keeps this name for itself")
    save_graph(graph, folder / FILE)
    save_tokenizer(bundle.tokenizer, folder)
    write_json(folder / "config.json", _about(bundle, graph))
    apart = largest_difference(graph, bundle, folder / FILE)
    if apart > TOLERANCE:
        raise refusal(ONNX, f"this model: onnxruntime differs from torch by {apart:.1g}")
    tags = any(isinstance(bundle.model.head(name), TaggingHead) for name in graph.logits)
    usage = USAGE + WITH_TAGS if tags else USAGE
    return Written(
        "onnx", "feature-extraction", usage, [WORDS] if tags else [], checked=apart, tags=["onnx"]
    )


def save_graph(graph: Graph, file: Path) -> None:
    """Traces the graph with free numbers of texts and tokens, and writes it."""
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
    """Values inside get numbers for names, and nothing says in whose files they were made.

    Else an output may have the name of a value inside, such as `embedding`.
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
    """Without what the exporter says of itself, its libraries and torch's own deprecations."""
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
    """An onnxruntime session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


@torch.inference_mode()
def largest_difference(graph: Graph, bundle: Bundle, file: Path) -> float:
    """Of any output, at several sizes with padding; tags at real tokens only."""
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
        for found, right in zip(opened.run(None, feeds), graph(ids_BL, mask_BL), strict=True):
            apart = np.abs(found - right.numpy())
            worst = max(worst, float((apart[real_BL] if apart.ndim == 3 else apart).max()))
    return worst


def _about(bundle: Bundle, graph: Graph) -> dict[str, Any]:
    """`config.json`: what the outputs mean."""
    outputs: dict[str, Any] = {}
    for name in graph.logits:
        head = bundle.model.head(name)
        kind = carried(ONNX, name, head).kind
        outputs[name] = {"kind": kind, "labels": bundle.labels[name], **_decoding(head)}
    return {
        "library_name": "onnx",
        "max_length": bundle.tokenizer.max_length,
        "truncation": bundle.tokenizer.truncation,
        EMBEDDING: {"width": bundle.model.encoder.width, "normalized": graph.normalize},
        "tasks": outputs,
    }


def _decoding(head: Head) -> dict[str, Any]:
    """What turns logits into answers, beyond the largest one.

    Of tags: the scores of a first tag, of each step and of a last tag. The best path over the
    logits with them is the bundle's answer, with and without a CRF.
    """
    if isinstance(head, MultiLabelHead):
        return {"threshold": head.threshold}
    if not isinstance(head, TaggingHead):
        return {}
    start_C = torch.zeros(len(head.labels)).masked_fill(~head.start_C.bool(), FORBIDDEN)
    steps_CC = torch.zeros(head.transition_CC.shape).masked_fill(
        ~head.transition_CC.bool(), FORBIDDEN
    )
    end_C = torch.zeros_like(start_C)
    if isinstance(head, CrfHead):
        learnt = head.transitions
        start_C, end_C = start_C + learnt.start_C, learnt.end_C
        steps_CC = steps_CC + learnt.step_CC
    found = {"start": start_C, "steps": steps_CC, "end": end_C}
    return {"decoding": {name: scores.tolist() for name, scores in found.items()}}
