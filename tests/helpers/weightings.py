"""Every weighting on the toy tasks; in two processes: `python -m helpers.weightings FILE`."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.strategies import DDPStrategy

from candelabra.model.backbones import Tiny
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.pooling import AttentionPooling
from candelabra.training.callbacks.gradients import GradientDiagnostics
from candelabra.training.module import MultiTaskModule
from candelabra.weighting import gram
from candelabra.weighting.base import Weighting
from candelabra.weighting.dwa import Dwa
from candelabra.weighting.end_of_step import GradientWeighting
from candelabra.weighting.famo import Famo
from candelabra.weighting.fixed import Fixed
from candelabra.weighting.geometric import Geometric
from candelabra.weighting.gradnorm import GradNorm
from candelabra.weighting.log_classes import LogClasses
from candelabra.weighting.random_weights import Random
from candelabra.weighting.uncertainty import Uncertainty
from helpers.toys import (
    LABELS,
    Splits,
    sgd,
    tiny,
    toy_data,
    toy_model,
    toy_module,
    toy_splits,
    toy_trainer,
)

TASKS = {task: len(labels) for task, labels in LABELS.items()}
SCHEMES = ["pcgrad", "upgrad", "mgda", "cagrad", "imtl_g", "nash", "aligned"]
"""Functions of `candelabra.weighting.gram`."""
MAKE: dict[str, Callable[[], Weighting]] = {
    "fixed": partial(Fixed, TASKS),
    "log_classes": partial(LogClasses, TASKS),
    "uncertainty": partial(Uncertainty, TASKS, lr=0.1),
    "dwa": partial(Dwa, TASKS, window=1, temperature=0.2),
    "random": partial(Random, TASKS, seed=3),
    "geometric": partial(Geometric, TASKS),
    "famo": partial(Famo, TASKS, lr_w=0.2),
    "gradnorm": partial(GradNorm, TASKS, first_steps=1, lr_w=0.2),
    **{
        name: partial(GradientWeighting, TASKS, scheme=getattr(gram, name), rescale=False)
        for name in SCHEMES
    },
}
STEPS = 3


def model() -> MultiTaskModel:
    """A pooling with parameters that one of the two heads reads."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return toy_model(tiny(), pooling=AttentionPooling(width=16))


def trained(
    toys: Splits, name: str, *, ranks: int = 1, accumulate: int = 1, **kwargs: Any
) -> MultiTaskModule:
    """A few steps; tasks are told apart in each step, or in each second one, as the name says."""
    scheme, _, when = name.partition(" told apart")
    module = toy_module(model(), weighting=MAKE[scheme](), optimizer=sgd)
    if scheme != name:
        kwargs["callbacks"] = [GradientDiagnostics(every_n_steps=2 if when else 1)]
    if ranks > 1:
        kwargs["strategy"] = DDPStrategy(
            process_group_backend="gloo",
            timeout=timedelta(seconds=60),
            gradient_as_bucket_view=True,
        )
    trainer = toy_trainer(
        devices=ranks,
        accumulate_grad_batches=accumulate,
        max_steps=STEPS,
        limit_val_batches=0,
        **kwargs,
    )
    trainer.fit(module, datamodule=toy_data(toys, batch_size=5))
    return module


def state(module: MultiTaskModule) -> dict[str, torch.Tensor]:
    """Weights of the model, what the weighting keeps, and the Gram matrices of the last step."""
    assert module.weighting is not None
    own = {f"weighting.{key}": value for key, value in module.weighting.state_dict().items()}
    if module.last_step is not None:
        own |= {f"gram.{part}": found for part, found in module.last_step.grams.items()}
    return {**module.model.state_dict(), **own}


NAMES = [*MAKE, "fixed told apart at times", "uncertainty told apart"]


def be_one_of_two() -> int:
    """Makes two processes of this one, as if started by torchrun; gives the rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    os.environ |= {
        **place,
        "LOCAL_WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "two",
        "GROUP_RANK": "0",
    }
    rank = 0 if os.fork() else 1
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    return rank


def main(file: Path) -> None:
    rank = be_one_of_two()
    toys = toy_splits(Tiny(max_length=32).tokenizer())
    found = {name: state(trained(toys, name, ranks=2, accumulate=2)) for name in NAMES}
    torch.distributed.destroy_process_group()
    if rank == 0:
        torch.save(found, file)
        assert os.wait()[1] == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
