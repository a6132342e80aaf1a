"""Which formats carry which heads. The one place that says so: what stands not here is refused.

Shapes: B texts, L token positions, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from candelabra.exporting.formats import ONNX, SENTENCE_TRANSFORMERS, TRANSFORMERS, refusal
from candelabra.model.crf import CrfHead
from candelabra.model.embedding import EmbeddingHead
from candelabra.model.heads import ClassificationHead, Head, MlpHead, Pooling
from candelabra.model.multilabel import MultiLabelHead
from candelabra.model.regression import RegressionHead
from candelabra.model.tagging import TaggingHead, TaggingMlpHead
from candelabra.records import Encoded

Logits = Callable[[Head, Encoded, Pooling], Tensor]


def of_text(head: Head, text: Encoded, pooling: Pooling) -> Tensor:
    """logits_BC of a head that reads the sentence embedding; numbers too stand in a column."""
    logits = cast("Tensor", head((text,), pooling, None))
    return logits.unsqueeze(-1) if logits.dim() == 1 else logits


def of_tokens(head: Head, text: Encoded, pooling: Pooling) -> Tensor:
    """logits_BLC of a tagging head at every token; a word's are those of its first piece."""
    assert isinstance(head, TaggingHead)
    return cast("Tensor", head.classifier(text.hidden_BLD))


@dataclass(frozen=True)
class Carried:
    """How heads of one class leave candelabra.

    Attributes:
        kind: What they answer.
        formats: The formats that carry them; sentence_transformers leaves heads out.
        logits: (head, encoded text, pooling) -> their output in a graph; None: none of their own.
    """

    kind: str
    formats: tuple[str, ...]
    logits: Logits | None


HEADS: dict[type[Head], Carried] = {
    ClassificationHead: Carried("classification", (TRANSFORMERS, ONNX), of_text),
    MlpHead: Carried("classification", (TRANSFORMERS, ONNX), of_text),
    MultiLabelHead: Carried("multilabel", (TRANSFORMERS, ONNX), of_text),
    RegressionHead: Carried("regression", (TRANSFORMERS, ONNX), of_text),
    TaggingHead: Carried("tagging", (TRANSFORMERS, ONNX), of_tokens),
    TaggingMlpHead: Carried("tagging", (ONNX,), of_tokens),
    CrfHead: Carried("tagging", (ONNX,), of_tokens),
    EmbeddingHead: Carried("embedding", (SENTENCE_TRANSFORMERS, ONNX), None),
}
"""By the exact class: a subclass may compute something else."""


def carried(form: str, task: str, head: Head) -> Carried:
    """How a format carries a task's head.

    Raises:
        ConfigError: It does not.
    """
    found = HEADS.get(type(head))
    if found is not None and found.logits is not None and not head.alone:
        raise refusal(form, f"tasks.{task}: a cross-encoder reads two texts in one sequence")
    if found is None or form not in found.formats:
        what = f"tasks.{task}.head, {type(head).__name__}"
        raise refusal(form, what, () if found is None else found.formats)
    return found
