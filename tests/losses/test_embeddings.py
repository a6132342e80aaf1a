"""Losses of embeddings against sentence-transformers' own forward passes, and their rules."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer import losses
from torch import Tensor, nn
from torch.nn import functional as F

from candelabra.config.targets import conf_dir
from candelabra.data.rows.shapes import (
    PAIR_WITH_LABEL,
    PAIR_WITH_SCORE,
    POSITIVE_PAIR,
    SHAPES,
    TRIPLET,
)
from candelabra.losses import embeddings as module
from candelabra.losses.classification import cross_entropy
from candelabra.losses.rules import RULES, losses_for, rule_of

LIBRARY: dict[str, tuple[str, dict[str, Any], int]] = {
    "cosine": ("CosineSimilarityLoss", {}, 2),
    "cosent": ("CoSENTLoss", {"scale": 12.0}, 2),
    "angle": ("AnglELoss", {"scale": 12.0}, 2),
    "contrastive": ("ContrastiveLoss", {"margin": 0.9}, 2),
    "online_contrastive": ("OnlineContrastiveLoss", {"margin": 0.9}, 2),
    "ranking": ("MultipleNegativesRankingLoss", {"scale": 12.0}, 3),
    "mega_batch_margin": (
        "MegaBatchMarginLoss",
        {"positive_margin": 0.9, "negative_margin": 0.1},
        2,
    ),
    "triplet": ("TripletLoss", {"margin": 2.0}, 3),
    "batch_hard": ("BatchHardTripletLoss", {"margin": 2.0}, 1),
    "batch_hard_soft_margin": ("BatchHardSoftMarginTripletLoss", {}, 1),
    "batch_semi_hard": ("BatchSemiHardTripletLoss", {"margin": 2.0}, 1),
    "batch_all": ("BatchAllTripletLoss", {"margin": 2.0}, 1),
}
"""Our loss -> the library's class, settings, and texts of an example."""


class Given(nn.Module):
    """A model whose texts are embedded already."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": features["embedding"]}

    def __iter__(self) -> Iterable[nn.Module]:
        return iter(())


def batch(num_texts: int, *, scores: bool, seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    embeddings = torch.randn(8, num_texts, 6)
    labels = torch.rand(8) if scores else torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])
    return embeddings, labels


def test_every_loss_of_conf_is_compared() -> None:
    named = {
        file.stem
        for file in (conf_dir() / "loss").glob("*.yaml")
        if any(f"candelabra.losses.{name}\n" in file.read_text() for name in RULES)
    }
    assert named == set(RULES) == set(LIBRARY)


@pytest.mark.parametrize("name", LIBRARY)
def test_the_loss_is_the_librarys_for_each_example(name: str) -> None:
    library, settings, num_texts = LIBRARY[name]
    embeddings, labels = batch(num_texts, scores=PAIR_WITH_SCORE in RULES[name].shapes)
    given = {
        "triplet_margin" if (name, key) == ("triplet", "margin") else key: value
        for key, value in settings.items()
    }
    if name == "mega_batch_margin":
        given["use_mini_batched_version"] = False
    theirs, ours = embeddings.clone().requires_grad_(), embeddings.clone().requires_grad_()
    features = [{"embedding": column} for column in theirs.unbind(1)]
    right = getattr(losses, library)(Given(), **given)(features, labels)
    found = getattr(module, name)(ours, labels, **settings)
    torch.testing.assert_close(found, 8 * right)
    right.backward()
    found.backward()
    torch.testing.assert_close(ours.grad, 8 * theirs.grad)


def test_ranking_of_both_sides() -> None:
    embeddings, labels = batch(2, scores=False)
    found = module.ranking(embeddings, labels, scale=7.0, symmetric=True)
    anchors, positives = F.normalize(embeddings, dim=-1).unbind(1)
    scores, right = 7.0 * anchors @ positives.T, torch.arange(8)
    both = [F.cross_entropy(scores, right), F.cross_entropy(scores.T, right)]
    torch.testing.assert_close(found, 8 * sum(both) / 2)


@pytest.mark.parametrize("name", LIBRARY)
@pytest.mark.parametrize("size", [1, 2])
def test_the_smallest_batches_have_a_finite_loss(name: str, size: int) -> None:
    embeddings, labels = batch(LIBRARY[name][2], scores=PAIR_WITH_SCORE in RULES[name].shapes)
    leaf = embeddings[:size].clone().requires_grad_()
    loss = getattr(module, name)(leaf, labels[:size])
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(leaf.grad).all()


def test_the_data_decide_which_losses_fit() -> None:
    assert losses_for(PAIR_WITH_SCORE) == ("cosine", "cosent", "angle")
    assert losses_for(PAIR_WITH_LABEL) == ("contrastive", "online_contrastive")
    assert losses_for(POSITIVE_PAIR) == ("ranking", "mega_batch_margin")
    assert losses_for(TRIPLET) == ("ranking", "triplet")
    assert losses_for(("words", "tags")) == ()
    assert all(set(rule.shapes) <= set(SHAPES) for rule in RULES.values())


def test_a_rule_is_found_below_bound_settings() -> None:
    assert rule_of(partial(partial(module.ranking, scale=3.0), symmetric=True)) is RULES["ranking"]
    own = rule_of(cross_entropy)
    assert (own.shapes, own.in_batch, own.arrange) == ((), False, None)
    own.check(TRIPLET, [])


def test_two_labels_are_needed() -> None:
    with pytest.raises(ValueError, match=r"needs 2 labels.*found 3: entailment, neutral, contra"):
        RULES["contrastive"].check(PAIR_WITH_LABEL, ["entailment", "neutral", "contradiction"])
