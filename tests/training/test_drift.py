"""Frozen heads on a moving encoder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor
from torch.nn import functional as F

from candelabra.model.freeze.constant import FreezeHead, FreezeNothing
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.heads.multilabel import MultiLabelHead
from candelabra.model.heads.regression import RegressionHead
from candelabra.model.multitask import MultiTaskModel
from candelabra.records import Batch
from candelabra.training.drift import score_before
from candelabra.training.frozen_copy import FrozenCopy, frozen_heads
from candelabra.training.module import MultiTaskModule
from candelabra.training.optim import adamw
from helpers.toys import Splits, difference, fit, tiny, toy_data, toy_model, toy_module, toy_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:Found .* in eval mode"),  # frozen parts are, on purpose
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty"),  # of a resume
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint"),  # the sampler can
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),  # one saves only
]


def holding(task: str, *, dropout: float = 0.0) -> MultiTaskModel:
    freezer = Freezer(FreezeHead(head=task))
    model = toy_model(tiny(dropout=dropout), freezer=freezer)
    freezer.apply(model, 0)
    return model


@pytest.fixture
def batches(toys: Splits) -> Mapping[str, Batch]:
    return {task: splits["train"].batch([0, 3, 5, 7]) for task, splits in toys.items()}


def moved(model: MultiTaskModel) -> MultiTaskModel:
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in model.encoder.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model


def by_hand(answer: Tensor, wanted: Tensor, temperature: float) -> float:
    """Over all rows, one at a time."""
    total = 0.0
    for row, reference in zip(answer, wanted, strict=True):
        p = (reference.double() / temperature).softmax(-1)
        q = (row.double() / temperature).softmax(-1)
        total += float((p * (p / q).log()).sum()) * temperature**2
    return total


def test_the_loss_is_the_divergence_from_the_start(batches: Mapping[str, Batch]) -> None:
    """A head on sentences reads all texts, one on words those that are cut into words."""
    for task, readable in (("mood", ["mood", "who"]), ("who", ["who"])):
        start, model = holding(task), holding(task)
        copy = FrozenCopy(model, weight=0.7, temperature=1.5)
        for batch in batches.values():
            none = copy.loss(model, model.encode(batch, []), batch).detach()
            assert float(none) == pytest.approx(0, abs=1e-6)
        moved(model)
        for name, batch in batches.items():
            loss = copy.loss(model, model.encode(batch, []), batch).detach()
            if name not in readable:
                assert float(loss) == 0
                continue
            answers = [
                each.apply_head(task, each.encode(batch, []), batch.first_BW).detach()
                for each in (model.eval(), start.eval())
            ]
            rows = [(answer[None], wanted[None]) for answer, wanted in zip(*answers, strict=True)]
            if task == "who":
                assert batch.first_BW is not None
                read = batch.first_BW >= 0
                rows = [(a[0][r], w[0][r]) for (a, w), r in zip(rows, read, strict=True)]
            means = [by_hand(answer, wanted, 1.5) / len(answer) for answer, wanted in rows]
            expected = 0.7 * sum(means) / len(means)
            assert expected > 1e-6
            assert float(loss) == pytest.approx(expected, rel=1e-3)


def test_only_the_model_learns_by_it(batches: Mapping[str, Batch]) -> None:
    model = holding("mood")
    copy = FrozenCopy(model, weight=1.0)
    moved(model)
    copy.loss(model, model.encode(batches["mood"], []), batches["mood"]).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.encoder.parameters())
    assert all(p.grad is None for p in model.heads["mood"].parameters())


def test_without_a_frozen_head_there_is_nothing_to_hold() -> None:
    assert frozen_heads(toy_model(freezer=Freezer(FreezeNothing()))) == []
    with pytest.raises(ValueError, match="distill_frozen needs a frozen head"):
        FrozenCopy(toy_model(), weight=1.0)


def module_of(weight: float, *, dropout: float = 0.0) -> MultiTaskModule:
    model = holding("mood", dropout=dropout)
    copy = FrozenCopy(model, weight=weight) if weight else None
    return toy_module(model, optimizer=partial(adamw, lr=1e-2), frozen_copy=copy)


def answers(model: MultiTaskModel, batch: Batch) -> Tensor:
    model.eval()
    with torch.no_grad():
        return model.apply_head("mood", model.encode(batch, []), batch.first_BW).log_softmax(-1)


def test_it_keeps_the_answers_of_the_frozen_head(toys: Splits) -> None:
    batch = toys["mood"]["test"].batch(list(range(40)))
    start = answers(holding("mood"), batch)
    apart = [
        float(
            F.kl_div(
                answers(fit(toys, module_of(weight), max_epochs=2).model, batch),
                start,
                log_target=True,
                reduction="batchmean",
            )
        )
        for weight in (0.0, 20.0)
    ]
    assert apart[1] < apart[0] / 2


def test_the_drift_is_told_from_the_first_validation_on(toys: Splits) -> None:
    module, trainer, data = module_of(0.0), toy_trainer(max_epochs=2), toy_data(toys)
    score_before(trainer, module, data)
    start = dict(module.start_scores)
    assert set(start) == {"mood"}
    trainer.fit(module, datamodule=data)
    metrics = trainer.callback_metrics
    drift = float(metrics["val/mood/accuracy"]) - start["mood"]
    assert float(metrics["val/mood/drift"]) == pytest.approx(drift)
    assert "val/who/drift" not in metrics


def test_a_resumed_run_has_the_same_copy_and_start(toys: Splits, tmp_path: Path) -> None:
    every_step = {"every_n_train_steps": 1, "save_on_train_epoch_end": False}
    keep = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, **every_step)
    settings = {"max_epochs": 2, "enable_checkpointing": True}
    whole = module_of(2.0, dropout=0.3)
    whole.start_scores = {"mood": 0.25}
    fit(toys, whole, callbacks=[keep], **settings)
    again = module_of(2.0, dropout=0.3)
    resumed = fit(toys, again, ckpt_path=str(tmp_path / "step=5.ckpt"), **settings)
    assert difference(whole, resumed) == 0
    assert resumed.start_scores == {"mood": 0.25}


def test_other_kinds_of_answers_are_held_too(toys: Splits) -> None:
    """A softmax would be blind to what all numbers, or all labels, have in common."""
    batch = toys["mood"]["train"].batch([0, 1])
    for head, answer, expected in (
        (RegressionHead(4), torch.tensor([0.5, -1.0]), 9.0),
        (MultiLabelHead(4, ["a", "b"]), torch.tensor([[0.3, 2.0], [-1.0, 0.0]]), None),
    ):
        found = head.distillation_loss(answer + 3.0, answer, batch, 2.0)
        if expected is None:
            p, q = (answer / 2).sigmoid(), ((answer + 3.0) / 2).sigmoid()
            kl = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
            expected = float(kl.mean()) * 4
        assert float(found) == pytest.approx(expected, rel=1e-5)
        assert float(head.distillation_loss(answer, answer, batch, 2.0)) == pytest.approx(
            0, abs=1e-7
        )


def test_examples_that_keep_a_process_busy_do_not_count(toys: Splits) -> None:
    model = holding("mood")
    copy = FrozenCopy(model, weight=1.0)
    moved(model)
    for counted in (True, False):
        batch = toys["mood"]["train"].batch([0, 1], counted=counted)
        loss = copy.loss(model, model.encode(batch, ["mood"]), batch)
        assert bool(loss.detach() > 0) is counted
        assert loss.requires_grad
