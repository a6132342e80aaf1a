"""Table of the formats that can represent each head. Heads that are not listed are rejected.

Shapes: B texts, L token positions, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from candelabra.exporting.formats import ONNX, SENTENCE_TRANSFORMERS, TRANSFORMERS, refusal
from candelabra.model.heads.base import Head, Pooling
from candelabra.model.heads.classification import ClassificationHead, MlpHead
from candelabra.model.heads.crf import CrfHead
from candelabra.model.heads.embedding import EmbeddingHead
from candelabra.model.heads.multilabel import MultiLabelHead
from candelabra.model.heads.regression import RegressionHead
from candelabra.model.heads.tagging import TaggingHead, TaggingMlpHead
from candelabra.records import Encoded

Logits = Callable[[Head, Encoded, Pooling], Tensor]


def of_text(head: Head, text: Encoded, pooling: Pooling) -> Tensor:
    """Return logits_BC of a head over the sentence embedding; C is 1 for regression."""
    logits = cast("Tensor", head((text,), pooling, None))
    return logits.unsqueeze(-1) if logits.dim() == 1 else logits


def of_tokens(head: Head, text: Encoded, pooling: Pooling) -> Tensor:
    """Return logits_BLC of a tagging head at every token; a word uses those of its first piece."""
    assert isinstance(head, TaggingHead)
    return cast("Tensor", head.classifier(text.hidden_BLD))


@dataclass(frozen=True)
class HeadExport:
    """Export rule for the heads of one class.

    Attributes:
        kind: Kind of prediction, such as `classification`.
        formats: Formats that can represent the head.
        logits: Function (head, encoded text, pooling) -> logits for the ONNX graph. `None` if the
            head has no output besides the sentence embedding.
    """

    kind: str
    formats: tuple[str, ...]
    logits: Logits | None


HEADS: dict[type[Head], HeadExport] = {
    ClassificationHead: HeadExport("classification", (TRANSFORMERS, ONNX), of_text),
    MlpHead: HeadExport("classification", (TRANSFORMERS, ONNX), of_text),
    MultiLabelHead: HeadExport("multilabel", (TRANSFORMERS, ONNX), of_text),
    RegressionHead: HeadExport("regression", (TRANSFORMERS, ONNX), of_text),
    TaggingHead: HeadExport("tagging", (TRANSFORMERS, ONNX), of_tokens),
    TaggingMlpHead: HeadExport("tagging", (ONNX,), of_tokens),
    CrfHead: HeadExport("tagging", (ONNX,), of_tokens),
    EmbeddingHead: HeadExport("embedding", (SENTENCE_TRANSFORMERS, ONNX), None),
}
"""Rules by exact class, because a subclass may compute something else."""


def carried(form: str, task: str, head: Head) -> HeadExport:
    """Return the rule by which a format represents a task's head.

    Raises:
        ConfigError: If the format cannot represent the head.
    """
    found = HEADS.get(type(head))
    if found is not None and found.logits is not None and not head.alone:
        raise refusal(form, f"tasks.{task}: a cross-encoder reads two texts in one sequence")
    if found is None or form not in found.formats:
        what = f"tasks.{task}.head, {type(head).__name__}"
        raise refusal(form, what, () if found is None else found.formats)
    return found
