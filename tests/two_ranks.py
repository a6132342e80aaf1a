"""Trains and validates the toy tasks in two processes: `python two_ranks.py RESULT`."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import torch
from pytorch_lightning.strategies import DDPStrategy

from candelabra.model.encoder import Tiny
from candelabra.training.module import scores_of
from toys import sgd, toy_data, toy_module, toy_splits, toy_trainer


def main(result: Path) -> None:
    toys = toy_splits(Tiny(max_length=32).tokenizer())
    module, data = toy_module(optimizer=sgd), toy_data(toys, eval_batch_size=64)
    strategy = DDPStrategy(
        start_method="fork", process_group_backend="gloo", timeout=timedelta(seconds=30)
    )
    trainer = toy_trainer(devices=2, strategy=strategy, accumulate_grad_batches=2)
    trainer.fit(module, datamodule=data)
    metrics = scores_of(trainer, "val")
    torch.save({"weights": module.model.state_dict(), "metrics": metrics}, result)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
