"""The gradients of a task's labels and of its teacher's answers, told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.nn.functional import cosine_similarity

from candelabra.model.freeze.constant import FreezeLowerLayers
from candelabra.model.freeze.freezer import Freezer
from candelabra.records import Batch
from candelabra.training.callbacks.gradient_map import parts_of
from candelabra.training.callbacks.gradients import GradientDiagnostics, compare_gradients
from candelabra.training.module import MultiTaskModule
from candelabra.training.teacher_gradients import teacher_report
from candelabra.weighting.end_of_step import ALL
from helpers.toys import Splits, difference, fit, sgd, tiny, toy_model, toy_module
from helpers.two_ranks import any_teacher

TAUGHT = ["mood_vs_its_teacher", "who_vs_its_teacher"]


def watched(
    toys: Splits, diagnostics: GradientDiagnostics, *, weight: float = 0.25, **kwargs: Any
) -> MultiTaskModule:
    teacher = any_teacher(toys)
    teacher.weight = weight
    module = toy_module(toy_model(tiny(dropout=0.1)), optimizer=sgd, teacher=teacher)
    return fit(toys, module, callbacks=[diagnostics], **{"max_steps": 3, **kwargs})


def pairs(diagnostics: GradientDiagnostics) -> set[str]:
    return {key.partition("/")[0] for look in diagnostics.looks.values() for key in look}


def layer_1(module: MultiTaskModule, task: str, batch: Batch, weight: float) -> torch.Tensor:
    """Gradient of the whole loss of a task whose teacher has this weight."""
    assert module.teacher is not None
    given, module.teacher.weight = module.teacher.weight, weight
    loss = module.losses_of({task: batch})[task]
    module.teacher.weight = given
    gradients = torch.autograd.grad(loss, list(module.model.encoder.layers[0].parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients])


def test_both_gradients_are_those_of_labels_alone_and_teacher_alone(toys: Splits) -> None:
    found: dict[str, dict[str, float]] = {}
    expected: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    class Compare(pl.Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            gradients = {p: p.grad.clone() for p in pl_module.parameters() if p.grad is not None}
            for task, batch in self.batches.items():
                expected[task] = (
                    layer_1(pl_module, task, batch, 0.0),
                    layer_1(pl_module, task, batch, 1.0),
                )
                report = teacher_report(pl_module, task, batch, ["layer_1"])
                assert report is not None
                found[task] = compare_gradients(report)
            assert all(p.grad.equal(gradient) for p, gradient in gradients.items())

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, _: int) -> None:
            self.batches = batch

    teacher = any_teacher(toys)
    teacher.weight = 0.25
    fit(toys, toy_module(optimizer=sgd, teacher=teacher), callbacks=[Compare()], max_steps=1)
    assert list(found) == ["mood", "who"]
    for task, (labels, answers) in expected.items():
        key = f"{task}_vs_its_teacher/layer_1"
        cosine = float(cosine_similarity(labels, answers, dim=0))
        assert found[task][f"{key}/cosine"] == pytest.approx(cosine, abs=1e-4)
        ratio = float(0.75 * labels.norm() / (0.25 * answers.norm()))
        assert found[task][f"{key}/norm_ratio"] == pytest.approx(ratio, rel=1e-3)


def test_taught_tasks_are_compared_with_each_other_and_with_themselves(
    toys: Splits, tmp_path: Path
) -> None:
    diagnostics = GradientDiagnostics(every_n_steps=1, path=tmp_path / "gradients.png")
    seen = watched(toys, diagnostics)
    assert pairs(diagnostics) == {"mood_vs_who", *TAUGHT}
    parts = parts_of(diagnostics.looks, "mood_vs_who")
    assert [parts_of(diagnostics.looks, pair) for pair in TAUGHT] == [parts, parts]
    assert (tmp_path / "gradients.png").read_bytes().startswith(b"\x89PNG")
    assert difference(seen, watched(toys, GradientDiagnostics(every_n_steps=100))) < 1e-6


def test_a_single_task_is_compared_with_its_teacher(toys: Splits) -> None:
    diagnostics = GradientDiagnostics(every_n_steps=1)
    teacher = any_teacher(toys)
    del teacher.answers["who"]
    module = toy_module(optimizer=sgd, teacher=teacher)
    fit({"mood": toys["mood"]}, module, callbacks=[diagnostics], max_steps=2)
    assert pairs(diagnostics) == {"mood_vs_its_teacher"}
    assert all("mood/layer_1" in each for each in diagnostics.halves.values())


@pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # the frozen layer is
def test_frozen_parts_are_not_compared(toys: Splits) -> None:
    diagnostics = GradientDiagnostics(every_n_steps=1)
    model = toy_model(freezer=Freezer(FreezeLowerLayers(num_layers=1), steps_per_epoch=5))
    assert model.freezer is not None
    model.freezer.apply(model, 0)
    module = toy_module(model, optimizer=sgd, teacher=any_teacher(toys))
    fit(toys, module, callbacks=[diagnostics], max_steps=2)
    for look in diagnostics.looks.values():
        assert {key.partition("/")[2] for key in look} == {"layer_2", ALL}
        assert all(look.values())


def test_the_noise_is_that_of_the_whole_loss(toys: Splits) -> None:
    """With a teacher alone the labels do not count."""
    found = []
    for labels in (0, 1):
        changed = {name: dict(splits) for name, splits in toys.items()}
        train = toys["mood"]["train"]
        same = replace(train.examples, labels=[labels] * len(train))
        changed["mood"]["train"] = replace(train, examples=same)
        diagnostics = GradientDiagnostics(every_n_steps=1)
        watched(changed, diagnostics, weight=1.0, max_steps=1)
        found.append(diagnostics.halves[0]["mood/layer_1"])
    assert found[0] == pytest.approx(found[1], abs=1e-5)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_labels_or_teacher_alone_are_not_compared(toys: Splits, weight: float) -> None:
    diagnostics = GradientDiagnostics(every_n_steps=1)
    watched(toys, diagnostics, weight=weight)
    assert pairs(diagnostics) == {"mood_vs_who"}
