"""The loss against the answers of a teacher, beside sums written out."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from candelabra.build.soft_answers import soft_answers
from candelabra.data.collate import TokenizedSplit
from candelabra.data.tokens import TextTokenizer
from candelabra.model.heads.base import Head
from candelabra.model.heads.classification import ClassificationHead
from candelabra.model.heads.crf import IMPOSSIBLE, CrfHead
from candelabra.model.heads.embedding import EmbeddingHead
from candelabra.model.heads.multilabel import MultiLabelHead
from candelabra.model.heads.regression import RegressionHead
from candelabra.model.heads.tagging import TaggingHead
from candelabra.model.multitask import MultiTaskModel
from candelabra.records import IGNORED, Batch, Tokens
from candelabra.training.teaching import SoftAnswers, Teacher
from helpers.bundles import made
from helpers.kinds import kinds_module, kinds_splits
from helpers.toys import (
    LABELS,
    Splits,
    difference,
    fit,
    sgd,
    toy_model,
    toy_module,
    toy_trainer,
)

TAGS = ["O", "B-X", "I-X"]
T = 2.0


def batch_of(rows: list[int], first_BW: Tensor | None = None) -> Batch:
    empty = torch.zeros(len(rows), 1, dtype=torch.long)
    return Batch(
        texts=(Tokens(empty, empty),),
        labels=torch.zeros(len(rows)),
        rows_B=torch.tensor(rows),
        num_units=len(rows),
        num_examples=len(rows),
        num_tokens=len(rows),
        first_BW=first_BW,
    )


def kl(theirs: Tensor, ours: Tensor) -> float:
    """`T^2 KL` of two rows of logits softened by T."""
    p, q = ((row.double() / T).softmax(-1) for row in (theirs, ours))
    return T * T * sum(float(a * (a / b).log()) for a, b in zip(p, q, strict=True))


def divergence(head: Head, answers: SoftAnswers, logits: Tensor, batch: Batch) -> float:
    teacher = Teacher({"task": answers}, weight=0.5, temperature=T)
    return float(teacher.divergence("task", head, logits, batch).detach())


def test_classes_by_the_softened_divergence() -> None:
    theirs_NC, ours_BC = torch.randn(5, 3), torch.randn(2, 3)
    found = divergence(
        ClassificationHead(8, ["a", "b", "c"]), SoftAnswers(theirs_NC), ours_BC, batch_of([4, 1])
    )
    wanted = (kl(theirs_NC[4], ours_BC[0]) + kl(theirs_NC[1], ours_BC[1])) / 2
    # A small divergence is the difference of larger numbers in float32.
    assert found == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_labels_of_their_own_by_the_mean_of_their_divergences() -> None:
    theirs_NC, ours_BC = torch.randn(2, 3), torch.randn(2, 3)
    found = divergence(
        MultiLabelHead(8, ["a", "b", "c"]), SoftAnswers(theirs_NC), ours_BC, batch_of([0, 1])
    )
    pairs = [
        kl(torch.stack([a, 0 * a]), torch.stack([b, 0 * b]))
        for a, b in zip(theirs_NC.flatten(), ours_BC.flatten(), strict=True)
    ]
    assert found == pytest.approx(sum(pairs) / len(pairs), rel=1e-5, abs=1e-6)


def test_numbers_by_the_squared_difference() -> None:
    head = RegressionHead(8, [])
    answers = SoftAnswers(torch.tensor([1.0, 5.0]))
    assert divergence(head, answers, torch.tensor([2.0, 3.0]), batch_of([1, 0])) == 6.5


def test_embeddings_by_the_squared_distance_of_sentence_transformers() -> None:
    theirs_NKD = F.normalize(torch.randn(3, 2, 4), dim=-1)
    ours_BKD = torch.randn(2, 2, 4)
    head = EmbeddingHead(4)
    found = divergence(head, SoftAnswers(theirs_NKD), ours_BKD, batch_of([2, 0]))
    # Its MSELoss is torch's, a mean over the width too.
    wanted = 4 * F.mse_loss(F.normalize(ours_BKD, dim=-1), theirs_NKD[[2, 0]])
    assert found == pytest.approx(float(wanted), rel=1e-5, abs=1e-6)


def test_words_by_the_mean_over_those_that_the_student_reads() -> None:
    # Two examples of 3 words and 1 word; the teacher did not read the last word of the first, the
    # student not its first.
    theirs = torch.randn(4, 3)
    theirs[2] = torch.nan
    answers = SoftAnswers(theirs, torch.tensor([0, 3, 4]))
    first_BW = torch.tensor([[-1, 2, 3], [1, -1, -1]])
    ours_BWC = torch.randn(2, 3, 3)
    found = divergence(TaggingHead(8, TAGS), answers, ours_BWC, batch_of([0, 1], first_BW))
    first = (kl(theirs[1], ours_BWC[0, 1]) + 0.0) / 2
    assert found == pytest.approx((first + kl(theirs[3], ours_BWC[1, 0])) / 2, rel=1e-5, abs=1e-6)


def test_a_crf_answers_with_its_marginals() -> None:
    head = CrfHead(8, TAGS)
    with torch.no_grad():
        for parameter in head.transitions.parameters():
            parameter.copy_(torch.randn_like(parameter))
    logits_BWC, first_BW = torch.randn(1, 3, 3), torch.tensor([[1, 2, 3]])
    start_C, step_CC, end_C = (score.detach() for score in head.sequence_scores())
    marginals = torch.zeros(3, 3)
    for tags in itertools.product(range(3), repeat=3):
        score = start_C[tags[0]] + end_C[tags[-1]]
        score = score + sum(logits_BWC[0, word, tag] for word, tag in enumerate(tags))
        score = score + sum(step_CC[a, b] for a, b in itertools.pairwise(tags))
        for word, tag in enumerate(tags):
            marginals[word, tag] += math.exp(float(score))
    marginals /= marginals.sum(-1, keepdim=True)
    found = head.soft_answers(logits_BWC, first_BW).softmax(-1)
    torch.testing.assert_close(found[0], marginals)


@pytest.mark.parametrize("spread", [0.1, 50.0])
def test_a_tag_that_bio_rules_out_is_as_improbable_in_all_models(spread: float) -> None:
    logits_BWC = spread * torch.randn(1, 3, 3)
    answers_BWC = CrfHead(8, TAGS).soft_answers(logits_BWC, torch.tensor([[1, 2, 3]]))
    assert answers_BWC[0, 0, TAGS.index("I-X")] == IMPOSSIBLE
    assert (answers_BWC != IMPOSSIBLE).sum() == 8, "an I-X may follow in the other places"


def test_a_crf_learns_the_allowed_tags_of_a_teacher_that_does_not_follow_bio() -> None:
    # I-X is the teacher's likeliest tag of the first word, which a CRF rules out.
    theirs_WC = torch.tensor([[0.5, 0.1, 2.0]])
    answers = SoftAnswers(theirs_WC, torch.tensor([0, 1]))
    first_BW = torch.tensor([[1]])
    for ours_WC in (theirs_WC, torch.randn(1, 3)):
        found = divergence(CrfHead(8, TAGS), answers, ours_WC[None], batch_of([0], first_BW))
        assert found == pytest.approx(kl(theirs_WC[0, :2], ours_WC[0, :2]), abs=1e-5)


@pytest.mark.parametrize("gap", [1.0, 9.0, 15.0, 40.0])
def test_a_crf_that_is_surely_wrong_is_still_corrected(gap: float) -> None:
    head, first_BW = CrfHead(8, TAGS), torch.tensor([[1]])
    ours_BWC = torch.tensor([[[gap, 0.0, 0.0]]], requires_grad=True)
    # In half precision, as the cache keeps them.
    theirs_WC = head.soft_answers(torch.tensor([[[0.0, gap, 0.0]]]), first_BW)[0].half()
    answers = SoftAnswers(theirs_WC.detach(), torch.tensor([0, 1]))
    teacher = Teacher({"task": answers}, weight=1.0, temperature=1.0)
    batch = batch_of([0], first_BW)
    teacher.divergence("task", head, ours_BWC, batch).backward()
    assert ours_BWC.grad is not None
    p, q = torch.softmax(torch.tensor([[gap, 0.0], [0.0, gap]]), dim=-1)
    torch.testing.assert_close(ours_BWC.grad[0, 0, :2], p - q, atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"weight": 1.5, "temperature": 1.0}, "weight must be from 0 to 1, got 1.5"),
     ({"weight": 0.5, "temperature": 0.0}, "temperature must be above 0, got 0.0")],
)  # fmt: skip
def test_wrong_settings(settings: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Teacher({}, **settings)


ANSWER_SHAPES: dict[str, tuple[int, ...]] = {
    "mood": (2,),
    "who": (4,),
    "has": (3,),
    "length": (),
    "same": (2,),
    "alike": (2, 16),
    "lie": (1, 16),
}
"""Kind of task -> shape of a teacher's answer to an example, or to a word of `who`."""


def without_labels(split: TokenizedSplit, rows: list[int]) -> TokenizedSplit:
    """The split, with the labels of some rows missing."""
    labels = list(split.examples.labels)
    for row in rows:
        label = labels[row]
        several, number = isinstance(label, list), isinstance(label, float)
        labels[row] = [IGNORED] * len(label) if several else math.nan if number else IGNORED
    return replace(split, examples=replace(split.examples, labels=labels))


@pytest.mark.parametrize("task", ANSWER_SHAPES)
def test_texts_without_labels_learn_from_the_teacher_alone(
    task: str, tokenizer: TextTokenizer
) -> None:
    """The labels of the other rows give the loss of a batch without these texts."""
    split = kinds_splits(tokenizer)[task]["train"]
    rows, extra = list(range(8)), [1, 4, 5]
    labelled = [row for row in rows if row not in extra]
    starts_N = None
    if task == "who":
        words = split.examples.words
        assert words is not None
        starts_N = torch.tensor([0, *map(len, words)]).cumsum(0)
    size = len(split) if starts_N is None else int(starts_N[-1])
    answers = torch.randn(size, *ANSWER_SHAPES[task])
    teacher = Teacher({task: SoftAnswers(answers, starts_N)}, weight=0.25, temperature=T)
    module = kinds_module(teacher=teacher)
    module.trainer = toy_trainer()
    batch = without_labels(split, extra).batch(rows)
    logits = module.model.forward_task(task, batch)
    found = module.losses_of({task: batch})[task]
    expected = 0.25 * teacher.divergence(task, module.model.head(task), logits, batch)
    module.teacher = None
    expected += 0.75 * module.losses_of({task: split.batch(labelled)})[task]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    only_extra = without_labels(split, extra).batch(extra)
    assert module.losses_of({task: only_extra})[task] == 0


def own_answers(model: MultiTaskModel, toys: Splits, tokenizer: TextTokenizer) -> Teacher:
    bundle = replace(made(), model=model.eval(), tokenizer=tokenizer, labels=LABELS)
    answers = {
        task: soft_answers(bundle, task, toys[task]["train"].examples, names, precision="32-true")
        for task, names in LABELS.items()
    }
    return Teacher(answers, weight=1.0, temperature=T)


def slow(model: MultiTaskModel, weighting: torch.nn.Module) -> torch.optim.Optimizer:
    """Steps so small that they do not amplify rounding."""
    return torch.optim.SGD([*model.parameters(), *weighting.parameters()], lr=0.005)


def test_a_student_does_not_move_on_its_own_answers(toys: Splits, tokenizer: TextTokenizer) -> None:
    teacher = own_answers(toy_model(), toys, tokenizer)
    taught = fit(toys, toy_module(optimizer=slow, teacher=teacher), max_epochs=1)
    labelled = fit(toys, toy_module(optimizer=slow), max_epochs=1)
    # The answers are kept in half precision.
    assert difference(taught, toy_module()) < 1e-2 * difference(labelled, toy_module())


def test_a_resumed_run_logs_the_divergences_of_its_checkpoint(
    toys: Splits, tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    teacher = own_answers(toy_model(), toys, tokenizer)
    taught = fit(toys, toy_module(optimizer=sgd, teacher=teacher), max_epochs=1)
    file = str(tmp_path / "resume.ckpt")
    taught.trainer.save_checkpoint(file)
    # No step is left to train.
    resumed = fit(toys, toy_module(optimizer=sgd, teacher=teacher), max_epochs=1, ckpt_path=file)
    stored: dict[str, Any] = {}
    resumed.on_save_checkpoint(stored)
    logged = taught.trainer.logged_metrics
    assert stored["divergences"] == {
        task: pytest.approx(float(logged[f"train/{task}/divergence"])) for task in LABELS
    }


def test_weight_0_trains_on_the_labels_alone(toys: Splits, tokenizer: TextTokenizer) -> None:
    teacher = own_answers(toy_model(), toys, tokenizer)
    teacher.weight = 0.0
    taught = fit(toys, toy_module(optimizer=sgd, teacher=teacher), max_epochs=1)
    assert difference(taught, fit(toys, toy_module(optimizer=sgd), max_epochs=1)) == 0


def test_a_student_comes_nearer_to_its_teacher(toys: Splits, tokenizer: TextTokenizer) -> None:
    trained = fit(toys, max_epochs=6)
    teacher = own_answers(trained.model, toys, tokenizer)
    student = toy_module(teacher=teacher)
    batch = {task: split["train"].batch(range(8)) for task, split in toys.items()}

    def distance() -> float:
        student.model.eval()
        with torch.no_grad():
            return sum(
                float(
                    teacher.divergence(
                        task, student.model.head(task), student.model.forward_task(task, one), one
                    )
                )
                for task, one in batch.items()
            )

    before = distance()
    fit(toys, student, max_epochs=6)
    assert distance() < 0.5 * before
