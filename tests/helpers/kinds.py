"""A task of each kind, and a mix of layers.

One label, tags (CRF), several labels, a number; a pair's label; embeddings of pairs with a score,
of positive pairs and of labelled texts, by losses that compare the examples of a step.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from candelabra.data.tokens import TextTokenizer
from candelabra.losses.classification import binary_cross_entropy, cross_entropy, squared_error
from candelabra.losses.embeddings import batch_hard, cosent, ranking
from candelabra.metrics.classification import ClassificationMetrics
from candelabra.metrics.multilabel import MultiLabelMetrics
from candelabra.metrics.neighbours import NeighbourMetrics
from candelabra.metrics.regression import RegressionMetrics
from candelabra.metrics.retrieval import RetrievalMetrics
from candelabra.metrics.similarity import SimilarityMetrics
from candelabra.metrics.spans import SpanMetrics
from candelabra.model.heads.classification import ClassificationHead
from candelabra.model.heads.crf import CrfHead
from candelabra.model.heads.embedding import EmbeddingHead
from candelabra.model.heads.multilabel import MultiLabelHead
from candelabra.model.heads.pair import PairHead
from candelabra.model.heads.regression import RegressionHead
from candelabra.model.layer_mix import LayerMix
from candelabra.model.multitask import MultiTaskModel
from candelabra.records import IGNORED, Examples
from candelabra.training.module import MultiTaskModule
from candelabra.training.optim import adamw, constant
from candelabra.training.scoring import Objective
from candelabra.weighting.fixed import Fixed
from helpers.small_models import MakeHead, small_model
from helpers.toys import PLAIN, Splits, encode, tiny, toy_sentences, toy_tags

LABELS: dict[str, list[str]] = {
    "mood": ["negative", "positive"],
    "who": ["B-Actor", "O", "I-Actor", "B-Year"],
    "has": ["which", "film", "of"],
    "length": [],
    "same": ["differ", "same"],
    "alike": [],
    "next": [],
    "lie": ["negative", "positive"],
}


def several(size: int, seed: int) -> Examples:
    """Which of three words are in a text; every fifth row does not tell of one."""
    texts = toy_sentences(size, seed)
    held = [[int(name in text.split()) for name in LABELS["has"]] for text in texts.texts[0]]
    for row in held[::5]:
        row[1] = IGNORED
    assert set(LABELS["has"]) <= set(PLAIN)
    return replace(texts, labels=held)


def numbers(size: int, seed: int) -> Examples:
    """How long a text is, in tens of words."""
    texts = toy_sentences(size, seed)
    return replace(texts, labels=[len(text.split()) / 10 for text in texts.texts[0]])


def pairs(size: int, seed: int) -> Examples:
    """Two texts, and whether they say the same of a film."""
    one, other = toy_sentences(size, seed), toy_sentences(size, seed + 10)
    same = [int(a == b) for a, b in zip(one.labels, other.labels, strict=True)]
    return replace(one, texts=(*one.texts, *other.texts), labels=same)


def scored(size: int, seed: int) -> Examples:
    """Two texts, and how alike they are in length."""
    found = pairs(size, seed)
    lengths = zip(*([len(text) for text in column] for column in found.texts), strict=True)
    return replace(found, labels=[min(both) / max(both) for both in lengths])


def belonging(size: int, seed: int) -> Examples:
    """Two texts that belong together."""
    return replace(pairs(size, seed), labels=[1.0] * size)


def kinds_splits(tokenizer: TextTokenizer) -> Splits:
    """24 rows of each task and split."""
    make = {"mood": toy_sentences, "who": toy_tags, "has": several, "length": numbers}
    make |= {"same": pairs, "alike": scored, "next": belonging, "lie": toy_sentences}
    seeds = {"train": 1, "validation": 2, "test": 3}
    return {
        task: {split: encode(rows(24, seed), tokenizer) for split, seed in seeds.items()}
        for task, rows in make.items()
    }


def kinds_model() -> MultiTaskModel:
    """A head of each kind, without dropout; always the same weights."""
    encoder = tiny()
    heads: dict[str, MakeHead] = {
        "mood": partial(ClassificationHead, labels=LABELS["mood"], dropout=0.0),
        "who": partial(CrfHead, labels=LABELS["who"], dropout=0.0),
        "has": partial(MultiLabelHead, labels=LABELS["has"], dropout=0.0),
        "length": partial(RegressionHead, dropout=0.0),
        "same": partial(PairHead, labels=LABELS["same"], dropout=0.0),
        "alike": EmbeddingHead,
        "next": partial(EmbeddingHead, matryoshka_dims=[8], mini_batch_size=2),
        "lie": partial(EmbeddingHead, labels=LABELS["lie"]),
    }
    mixes = {task: LayerMix(len(encoder.layers) + 1) for task in ("who", "length")}
    return small_model(heads, encoder, mixes=mixes)


def kinds_module(**kwargs: Any) -> MultiTaskModule:
    """Their training, with AdamW at a constant rate."""
    objectives = {
        "mood": Objective(cross_entropy, 1.0, ClassificationMetrics(LABELS["mood"]), "accuracy"),
        "who": Objective(cross_entropy, 1.0, SpanMetrics(LABELS["who"]), "f1"),
        "has": Objective(binary_cross_entropy, 1.0, MultiLabelMetrics(LABELS["has"]), "f1_micro"),
        # At weight 1 plain gradient steps would overshoot, and rounding grow.
        "length": Objective(squared_error, 0.1, RegressionMetrics(), "spearman"),
        "same": Objective(cross_entropy, 1.0, ClassificationMetrics(LABELS["same"]), "accuracy"),
        "alike": Objective(cosent, 0.1, SimilarityMetrics(), "spearman"),
        "next": Objective(ranking, 0.1, RetrievalMetrics(), "mrr"),
        "lie": Objective(
            partial(batch_hard, margin=1.0), 0.1, NeighbourMetrics(LABELS["lie"]), "accuracy"
        ),
    }
    given = {
        "weighting": Fixed(list(LABELS)),
        "optimizer": partial(adamw, lr=5e-3),
        "scheduler": constant,
        "total_steps": 100,
    }
    return MultiTaskModule(kinds_model(), objectives, **{**given, **kwargs})
