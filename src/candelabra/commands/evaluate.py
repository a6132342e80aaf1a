"""`candelabra evaluate`: a bundle's metrics on its tasks' data."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from candelabra.commands.verbatim import compose, take
from candelabra.config import EvaluateConfig, plain, register
from candelabra.errors import ConfigError, DataError, MissingSplitError
from candelabra.reading import tasks_data
from candelabra.rules import at_least, one_of, unknown
from candelabra.trusted import checked_folder

if TYPE_CHECKING:
    from candelabra.data.loading import TaskData

HELP = """candelabra evaluate bundle=FOLDER [overrides]: metrics of a trained model.

  bundle=FOLDER    a bundle, or a run folder that holds one
  output=FOLDER    writes metrics.json and predictions/<task>.jsonl there
  split=test       or validation, train
  data_dir=FOLDER  in place of the folder that the bundle was trained from
  +task@tasks.NAME=OPTION
                   other data for the bundle's task NAME; the task's head and labels stay
  --config-dir FOLDER
                   a folder of your own yamls beside candelabra's
  eval_batch_size=64  precision=auto  accelerator=auto  allow=[]
"""

SPLITS = ("train", "validation", "test")
DATA_KEYS = (
    "source",
    "columns",
    "limit",
    "validation",
    "split_seed",
    "missing_labels",
    "score_range",
)


def main(overrides: list[str]) -> int:
    """Evaluates a bundle and prints its tables."""
    register()
    given, rest = take(overrides, ("bundle", "output"))
    cfg = compose("evaluate", rest)
    if "bundle" not in given:
        raise ConfigError("evaluate needs bundle=FOLDER")
    checked_folder(Path(given["bundle"]))
    unknown("the configuration", cfg, EvaluateConfig.__dataclass_fields__)
    one_of("split", cfg.split, SPLITS)
    at_least("eval_batch_size", cfg.eval_batch_size, 1)
    output = Path(given["output"]) if "output" in given else None
    metrics = evaluate(cfg, given["bundle"], output)

    from candelabra import report

    split = "val" if cfg.split == "validation" else cfg.split
    report.show(
        *report.types_tables(metrics, split),
        report.metrics_table(metrics, title=f"{given['bundle']}: {cfg.split}", splits=[split]),
    )
    return 0


def evaluate(
    cfg: DictConfig, folder: str, output: Path | None, *, only: Collection[str] | None = None
) -> dict[str, float]:
    """Metrics of a bundle on one split of its tasks.

    Args:
        cfg: A configuration of the command.
        folder: The bundle.
        output: Where metrics and predictions are written; None writes nothing.
        only: The tasks that are evaluated; None: all of the bundle.

    Returns:
        `<split>/<task>/<metric>` and `<split>/score`.
    """
    import pytorch_lightning as pl

    from candelabra import build, hardware
    from candelabra.bundle import load
    from candelabra.data.module import MultiTaskDataModule
    from candelabra.files import write_json
    from candelabra.objectives import objectives
    from candelabra.quiet import quiet
    from candelabra.training.judging import scores_of
    from candelabra.training.module import MultiTaskModule
    from candelabra.training.predictions import PredictionWriter

    quiet()
    device = hardware.device_type(cfg.accelerator)
    bundle = load(folder, allow=list(cfg.allow))
    tasks = tasks_of(cfg, bundle.config["tasks"], bundle.labels)
    tasks = {name: task for name, task in tasks.items() if only is None or name in only}
    data = data_of(tasks, cfg.split)
    splits = build.tokenized_tasks(data, bundle.tokenizer, cfg.cache_dir)
    datamodule = MultiTaskDataModule(
        {task: {"test": found[cfg.split]} for task, found in splits.items()},
        eval_batch_size=cfg.eval_batch_size,
        num_workers=cfg.num_workers,
    )
    module = MultiTaskModule(bundle.model, objectives(tasks, bundle.labels))
    callbacks: list[pl.Callback] = [pl.callbacks.RichProgressBar()]
    if output is not None:
        callbacks.append(PredictionWriter(output / "predictions", datamodule.split("test")))
    trainer = pl.Trainer(
        accelerator=cfg.accelerator,
        devices=1,
        precision=hardware.precision(cfg.precision, device),
        callbacks=callbacks,
        logger=False,
        enable_model_summary=False,
    )
    trainer.test(module, datamodule=datamodule, verbose=False)
    tested = scores_of(trainer, "test")
    name = "val" if cfg.split == "validation" else cfg.split
    metrics = {key.replace("test/", f"{name}/", 1): value for key, value in tested.items()}
    if output is not None:
        write_json(output / "metrics.json", metrics)
    return metrics


def data_of(tasks: Mapping[str, Any], split: str) -> dict[str, TaskData]:
    """The split of every task that has it; the others are named and left out."""
    data: dict[str, TaskData] = {}
    for name, task in tasks.items():
        try:
            data |= tasks_data({name: task}, only=split)
        except MissingSplitError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not data:
        raise DataError(f"no task has a {split} split")
    return data


def tasks_of(
    cfg: DictConfig, stored: Mapping[str, Any], labels: Mapping[str, list[str]]
) -> dict[str, dict[str, Any]]:
    """The bundle's tasks, with the command's data where it gives some, and the bundle's labels."""
    other = plain(cfg)["tasks"]
    unknown("tasks", other, stored)
    tasks = {}
    for name, task in stored.items():
        changed = {key: other[name][key] for key in DATA_KEYS if key in other.get(name, {})}
        source = {**changed.get("source", task["source"])}
        for key in ("data_dir", "folder"):
            if cfg.data_dir is not None and key in source:
                source[key] = cfg.data_dir
        settings = {"labels": labels[name], "on_bad_row": cfg.on_bad_row}
        tasks[name] = {**task, **changed, **settings, "source": source}
    return tasks
