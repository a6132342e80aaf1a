"""What the constructors choose where nothing is given equals the same choice spelled out."""

from __future__ import annotations

import torch

from candelabra.data.mixing import joint, proportional
from candelabra.data.mixing.schedule import Schedule
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.pooling import FunctionPooling, mean
from candelabra.training.module import MultiTaskModule
from candelabra.training.optim import linear
from candelabra.weighting import Fixed
from helpers.toys import LABELS, Splits, difference, fit, tiny, toy_model, toy_module, toy_schedule


def test_the_sum_of_losses_and_linear_decay_over_the_fit(toys: Splits) -> None:
    trained: list[MultiTaskModule] = []
    steps = toy_schedule(toys, num_epochs=2).total_steps
    spelled = {"weighting": Fixed(list(LABELS)), "scheduler": linear, "total_steps": steps}
    for settings in ({}, spelled):
        torch.manual_seed(0)
        given = toy_module(toy_model(tiny()))
        module = MultiTaskModule(
            given.model,
            given.objectives,
            optimizer=given.optimizer_factory,
            **settings,  # type: ignore[arg-type]
        )
        fit(toys, module, max_epochs=2)
        assert module.total_steps == steps
        trained.append(module)
    assert difference(*trained) == 0


def test_the_mean_of_the_tokens(toys: Splits) -> None:
    encoder, batch = tiny(), toys["mood"]["train"].batch(range(4))
    heads = {"mood": toy_model().head("mood")}
    default = MultiTaskModel(encoder, heads).eval()
    given = MultiTaskModel(encoder, heads, pooling=FunctionPooling(mean)).eval()
    assert torch.equal(default.forward_task("mood", batch), given.forward_task("mood", batch))


def test_an_epoch_is_a_pass_over_the_largest_task(toys: Splits) -> None:
    lengths = {task: each["train"].lengths for task, each in toys.items()}
    default = Schedule(lengths, batch_size=8)
    given = toy_schedule(toys, shares=proportional, step=joint, epoch="max_size_cycle", seed=0)
    assert default.total_steps == given.total_steps
    for task, rows in default.batch(1).items():
        assert (rows == given.batch(1)[task]).all()
