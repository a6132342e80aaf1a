"""Private members of libraries are read in few places, and exist in the installed versions."""

from __future__ import annotations

import ast
import io
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

import candelabra
from candelabra.training import internals
from candelabra.training.callbacks.progress import ProgressBar
from helpers.toys import Splits, toy_data, toy_module, toy_trainer

SOURCE = Path(candelabra.__file__).parent
READERS = {
    "training/internals.py",  # Lightning
    "model/attention.py",  # torch's own backward of softmax, and transformers
    "model/internals.py",  # transformers
    "config/interpolations.py",  # OmegaConf
    "config/plain_form.py",  # OmegaConf
    "training/callbacks/averaging.py",  # torch's own foreach functions
    "processes.py",  # os._exit
    "run/local_jobs.py",  # Hydra: the public property of a failed trial raises and prints its error
    # Optuna has no public id of a trial, by which another process finds it in the storage.
    "tuning/search.py",
    "tuning/takeover.py",
    "training/callbacks/pruning.py",
}


def private_reads(file: Path) -> set[str]:
    """The private attributes that a module reads of other objects than its own."""
    own = {"self", "cls"}
    return {
        node.attr
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and node.attr != "_replace"  # a public method of named tuples
        and not (isinstance(node.value, ast.Name) and node.value.id in own)
        and not (isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "super")
    }


def test_private_members_are_read_in_few_modules() -> None:
    files = {str(file.relative_to(SOURCE)): private_reads(file) for file in SOURCE.rglob("*.py")}
    assert {file for file, names in files.items() if names} <= READERS


class Asked(pl.Callback):
    """Asks everything after every micro-batch."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        names = ("writes_metrics", "accumulates", "epoch_ends", "validation_follows")
        names += ("num_stepped_batches", "before_end_of_batch", "logged_metrics")
        self.answers.append({name: getattr(internals, name)(trainer) for name in names})


def test_lightning_answers(toys: Splits) -> None:
    asked = Asked()
    trainer = toy_trainer(callbacks=[asked], accumulate_grad_batches=2, limit_val_batches=1)
    trainer.fit(toy_module(), datamodule=toy_data(toys))
    answers = asked.answers
    assert [each["accumulates"] for each in answers[:4]] == [True, False, True, False]
    assert [each["epoch_ends"] for each in answers] == [False] * (len(answers) - 1) + [True]
    assert [each["validation_follows"] for each in answers] == [False] * (len(answers) - 1) + [True]
    assert [each["num_stepped_batches"] for each in answers[:4]] == [0, 0, 1, 1]
    assert all(each["before_end_of_batch"] for each in answers)
    assert {each["writes_metrics"] for each in answers[1::2]} == {True}
    assert "train/loss" in answers[1]["logged_metrics"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stdout", [io.StringIO, Terminal])
def test_the_bar_is_on_standard_error(
    toys: Splits, monkeypatch: pytest.MonkeyPatch, stdout: type[io.StringIO]
) -> None:
    """And leaves the standard output alone where that goes into a file."""
    monkeypatch.setattr(sys, "stdout", stdout())
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")

    class Prints(pl.Callback):
        def on_train_epoch_end(self, *_: Any) -> None:
            print("a table")

    trainer = toy_trainer(callbacks=[ProgressBar(), Prints()], enable_progress_bar=True)
    trainer.fit(toy_module(), datamodule=toy_data(toys))
    where = sys.stderr if stdout is Terminal else sys.stdout
    assert "Epoch" in sys.stderr.getvalue()
    assert "Epoch" not in sys.stdout.getvalue()
    assert "a table" in where.getvalue()
