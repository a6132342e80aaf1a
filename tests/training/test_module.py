"""What real fits of a tiny encoder reach, and how it is scored."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from seqeval.metrics import classification_report, f1_score
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score
from sklearn.metrics import f1_score as sklearn_f1

from candelabra.errors import TrainingError
from candelabra.training.module import MultiTaskModule
from candelabra.training.scoring import scores_of
from helpers.toys import (
    LABELS,
    Splits,
    Watch,
    fit,
    toy_data,
    toy_model,
    toy_module,
    toy_trainer,
)


@pytest.fixture(scope="module")
def learnt(toys: Splits) -> tuple[MultiTaskModule, pl.Trainer, Watch]:
    """A model after ten epochs on the toys, validated and tested."""
    module, watch = toy_module(), Watch()
    trainer = toy_trainer(max_epochs=10, callbacks=[watch])
    trainer.fit(module, datamodule=toy_data(toys))
    return module, trainer, watch


def test_the_toys_are_learnt(learnt: tuple[MultiTaskModule, pl.Trainer, Watch]) -> None:
    _, trainer, watch = learnt
    assert len(watch.losses) == 80
    first_epoch, last_epoch = sum(watch.losses[:8]), sum(watch.losses[-8:])
    assert sum(watch.losses[4:8]) < sum(watch.losses[:4]), "one epoch lowers the loss"
    assert last_epoch < first_epoch / 4
    assert trainer.callback_metrics["val/score"] > 0.9


def test_the_model_trains_with_dropout_on(toys: Splits) -> None:
    """`from_pretrained` leaves eval mode behind, and Lightning keeps what it finds."""
    watch, model = Watch(), toy_model()
    model.eval()
    fit(toys, toy_module(model), max_epochs=2, callbacks=[watch])
    assert set(watch.modes) == {(True, True)}


def predictions(
    module: MultiTaskModule, toys: Splits, split: str
) -> dict[str, tuple[list[list[str]], list[list[str]]]]:
    """Task -> gold and predicted names of each row, one row at a time."""
    found = {}
    for task, splits in toys.items():
        gold, predicted = [], []
        for row, label in enumerate(splits[split].examples.labels):
            batch = splits[split].batch([row])
            with torch.no_grad():
                logits = module.model.eval()({task: batch})[task]
            ids = module.model.head(task).decode(logits, batch.first_BW).reshape(-1).tolist()
            gold.append([LABELS[task][i] for i in (label if isinstance(label, list) else [label])])
            predicted.append([LABELS[task][i] for i in ids])
        found[task] = (gold, predicted)
    return found


def test_metrics_are_those_of_the_references(toys: Splits) -> None:
    """After one epoch the model still errs; batches of 16 and single rows agree."""
    module = toy_module()
    trainer, data = toy_trainer(), toy_data(toys)
    trainer.fit(module, datamodule=data)
    logged = scores_of(trainer, "val")
    trainer.test(module, datamodule=data, verbose=False)
    logged |= scores_of(trainer, "test")
    for short, split in (("val", "validation"), ("test", "test")):
        found = predictions(module, toys, split)
        gold, predicted = found["mood"]
        classes = [name for (name,) in gold], [name for (name,) in predicted]
        accuracy = accuracy_score(*classes)
        assert 0.1 < accuracy < 1
        assert logged[f"{short}/mood/accuracy"] == pytest.approx(accuracy)
        macro = sklearn_f1(*classes, average="macro")
        assert logged[f"{short}/mood/f1_macro"] == pytest.approx(macro)
        gold, predicted = found["who"]
        f1 = f1_score(gold, predicted)
        assert 0.1 < f1 < 1
        assert logged[f"{short}/who/f1"] == pytest.approx(f1)
        strict = f1_score(gold, predicted, mode="strict", scheme=IOB2)
        assert logged[f"{short}/who/f1_strict"] == pytest.approx(strict)
        report = classification_report(gold, predicted, output_dict=True, zero_division=0)
        for kind in ("Actor", "Year"):
            assert logged[f"{short}/who/f1/{kind}"] == pytest.approx(report[kind]["f1-score"])
        assert logged[f"{short}/score"] == pytest.approx((accuracy + f1) / 2)


def test_a_model_that_answers_nan_gets_no_score(toys: Splits) -> None:
    module, trainer = toy_module(), toy_trainer()
    for parameter in module.model.head("who").parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(TrainingError, match="the logits of who contain NaN"):
        trainer.test(module, datamodule=toy_data(toys), verbose=False)


def test_a_task_without_a_test_split_does_not_enter_its_score(toys: Splits) -> None:
    del (splits := {task: dict(each) for task, each in toys.items()})["who"]["test"]
    module, trainer = toy_module(), toy_trainer()
    (found,) = trainer.test(module, datamodule=toy_data(splits), verbose=False)
    assert set(found) == {"test/mood/accuracy", "test/mood/f1_macro", "test/score"}
    assert found["test/score"] == found["test/mood/accuracy"]
