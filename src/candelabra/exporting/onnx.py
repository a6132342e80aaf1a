"""Export to one ONNX graph that computes the sentence embedding and every head's logits.

Shapes: B texts, L token positions, D encoder width, C outputs of a head.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from candelabra.bundle.bundle import Bundle
from candelabra.errors import ConfigError
from candelabra.exporting.formats import ONNX, ExportResult, check_prompt, refusal
from candelabra.exporting.onnx_snippet import USAGE, WITH_TAGS
from candelabra.exporting.supported_heads import check_head
from candelabra.exporting.tokenizer import save_tokenizer
from candelabra.files import write_json
from candelabra.model.onnx_graph import INPUTS, TOLERANCE, largest_difference, save_graph
from candelabra.records import Tokens

EMBEDDING = "embedding"
FILE, INT8 = "model.onnx", "model_int8.onnx"
WORDS = (
    "Tagging heads return logits for every token. The tag of a word is that of its first token, as "
    "in the code of the folder's README.md."
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
    save_graph(graph, folder / FILE, graph.outputs)
    save_tokenizer(bundle.tokenizer, folder)
    write_json(folder / "config.json", _about(bundle, graph))
    difference = largest_difference(graph, folder / FILE, bundle.tokenizer)
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
