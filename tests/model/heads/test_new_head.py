"""A new head needs its class, a yaml and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from candelabra.bundle.bundle import load
from candelabra.data.rows.shapes import TEXT_WITH_LABEL
from candelabra.errors import ConfigError
from candelabra.exporting.formats import FORMATS
from candelabra.exporting.onnx import Graph
from candelabra.exporting.supported_heads import check_head
from candelabra.model import heads
from candelabra.model.heads.base import Head, Pooling
from candelabra.model.heads.classification import ClassificationHead
from candelabra.records import Encoded, Examples
from helpers.composing import two_steps


class PrototypeHead(Head):
    """Head that scores each label by the cosine similarity to a learned prototype."""

    shapes = (TEXT_WITH_LABEL,)
    takes = ("cross_entropy", "focal")
    kind = "classification"
    formats = ("onnx",)

    def __init__(self, width: int, labels: list[str], *, scale: float) -> None:
        super().__init__(width, labels)
        self.scale = scale
        self.prototypes_CD = nn.Parameter(torch.randn(len(labels), width))

    def forward(
        self, encoded: tuple[Encoded, ...], pooling: Pooling, first_BW: Tensor | None
    ) -> Tensor:
        (text,) = encoded
        pooled_BD = F.normalize(pooling(text.hidden_BLD, text.mask_BL), dim=-1)
        return self.scale * pooled_BD @ F.normalize(self.prototypes_CD, dim=-1).T

    def decode(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        return logits.argmax(dim=-1)

    def describe(
        self, logits: Tensor, first_BW: Tensor | None, examples: Examples
    ) -> list[dict[str, Any]]:
        return [{"label": self.labels[label]} for label in logits.argmax(dim=-1).tolist()]

    def describe_labels(self, examples: Examples) -> list[str]:
        return [self.labels[label] for label in examples.labels]


class HeirHead(ClassificationHead):
    """Head of a person that may compute something else than its base class."""


TARGET = f"{__name__}.PrototypeHead"
ALL = [getattr(heads, name) for name in heads.__all__]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Overrides that choose the head from a folder of yamls."""
    folder = tmp_path / "conf" / "head"
    folder.mkdir(parents=True)
    (folder / "prototype.yaml").write_text(f"_target_: {TARGET}\n_partial_: true\nscale: 4.0\n")
    search = f"hydra.searchpath=[file://{folder.parent}]"
    small = ["encoder=tiny", "logger=csv", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]
    return [search, "head@tasks.sentiment.head=prototype", *small]


def test_a_new_head_trains_predicts_and_exports(words: list[str], tmp_path: Path) -> None:
    metrics = two_steps(words, tmp_path / "run")
    assert "test/sentiment/accuracy" in metrics
    bundle = load(tmp_path / "run" / "bundle", allow=[TARGET])
    head = bundle.model.head("sentiment")
    assert isinstance(head, PrototypeHead)
    assert head.scale == 4.0
    (answer,) = bundle.predict("a fine film")
    assert answer["sentiment"]["label"] in head.labels
    graph = Graph(bundle, None).eval()
    ids_BL = torch.tensor([[101, 2307, 102]])
    with torch.inference_mode():
        outputs = dict(zip(graph.outputs, graph(ids_BL, torch.ones_like(ids_BL)), strict=True))
    assert outputs["sentiment"].shape == (1, len(head.labels))


def test_the_head_says_which_losses_it_takes(words: list[str], tmp_path: Path) -> None:
    wrong = [*words, "loss@tasks.sentiment.loss=squared_error"]
    with pytest.raises(ConfigError, match=r"tasks\.sentiment\.loss: .*cross_entropy, focal"):
        two_steps(wrong, tmp_path / "run")


def test_the_head_says_which_formats_carry_it() -> None:
    head = PrototypeHead(4, ["no", "yes"], scale=1.0)
    check_head("onnx", "it", head)
    with pytest.raises(ConfigError, match=r"PrototypeHead; formats that carry it: onnx"):
        check_head("transformers", "it", head)


@pytest.mark.parametrize("kind", ALL)
def test_every_head_of_ours_names_its_kind_and_known_formats(kind: type[Head]) -> None:
    assert kind.kind != Head.kind
    assert set(kind.formats) <= set(FORMATS)


def test_formats_are_not_inherited() -> None:
    assert ClassificationHead.formats
    assert not HeirHead.formats
