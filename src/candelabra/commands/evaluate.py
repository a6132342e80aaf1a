"""`candelabra evaluate`: metrics of a bundle, or of an encoder as it is."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from candelabra.commands.embedders import ACCELERATORS, PRECISIONS, refuse_beside_a_bundle
from candelabra.commands.verbatim import asked
from candelabra.config import plain
from candelabra.errors import ConfigError, DataError, MissingSplitError
from candelabra.output import check_place
from candelabra.reading import tasks_data
from candelabra.rules import at_least, one_of, unknown
from candelabra.trusted import checked_folder
from candelabra.validation import DATA_KEYS, validate_task

if TYPE_CHECKING:
    from candelabra.data.loading import TaskData
    from candelabra.evaluation import Subject

HELP = """candelabra evaluate bundle=FOLDER [overrides]: metrics of a model, trained or not.

  bundle=FOLDER    a bundle, or a run folder that holds one
  encoder=NAME pooling=mean tasks=PRESET
                   an encoder without any training: embeddings are judged as they are, and labels
                   of texts by a small classifier on a few of them (MTEB's protocol)
  output=FOLDER    writes metrics.json and predictions/<task>.jsonl there
  split=test       or validation, train
  data_dir=FOLDER  in place of the folder that the bundle was trained from
  +task@tasks.NAME=OPTION
                   other data for the bundle's task NAME; the task's head and labels stay
  mteb=[STSBenchmark,...]
                   tasks of MTEB by name (extra mteb), from data_dir where it has them
  --config-dir FOLDER
                   a folder of your own yamls beside candelabra's
  eval_batch_size=64  precision=auto  accelerator=auto  allow=[]
"""

SPLITS = ("train", "validation", "test")
OTHER_DATA = ("source", *(key for key in DATA_KEYS if key not in ("labels", "on_bad_row")))
"""Of a task, what may come from the command: a head keeps its labels."""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found.

    Attributes:
        metrics: `<split>/<task>/<metric>` and `<split>/score`; `mteb/<task>/<score>`.
        asked: Task -> a sha256 of the texts that it was judged by.
    """

    metrics: dict[str, float]
    asked: dict[str, str]


def main(overrides: list[str]) -> int:
    """Evaluates a model and prints its tables."""
    cfg, given, rest = asked("evaluate", overrides, ("bundle", "output"))
    check_values(cfg)
    check_model(cfg, given, rest)
    output = checked_output(given.get("output"))
    metrics = evaluate(cfg, given.get("bundle"), output).metrics

    from candelabra import report

    split = "val" if cfg.split == "validation" else cfg.split
    name = given.get("bundle") or next(word for word in rest if word.startswith("encoder="))
    report.show(
        *report.types_tables(metrics, split),
        report.metrics_table(metrics, title=f"{name}: {cfg.split}", splits=[split, "mteb"]),
    )
    return 0


def checked_output(name: str | None) -> Path | None:
    """Raises ConfigError for what is no folder, and for a run or a bundle with files to replace."""
    if name is None:
        return None
    if Path(name).exists() and not Path(name).is_dir():
        raise ConfigError(f"output={name}: must be a folder, is a file")
    check_place(Path(name))
    for own in ("run.json", "heads.safetensors"):
        if (Path(name) / own).exists():
            raise ConfigError(f"output={name}: is the folder of a run or a bundle; take another")
    return Path(name)


def check_values(cfg: DictConfig) -> None:
    """Raises ConfigError for a value that cannot be."""
    one_of("split", cfg.split, SPLITS)
    one_of("precision", cfg.precision, PRECISIONS)
    one_of("accelerator", cfg.accelerator, ACCELERATORS)
    at_least("eval_batch_size", cfg.eval_batch_size, 1)


def check_model(cfg: DictConfig, given: Mapping[str, str], rest: Sequence[str]) -> None:
    """Raises ConfigError unless there is either a bundle, or an encoder with something to do."""
    if "bundle" in given:
        checked_folder(Path(given["bundle"]))
        refuse_beside_a_bundle(rest)
        return
    if not any(word.startswith("encoder=") for word in rest):
        raise ConfigError("evaluate needs bundle=FOLDER, or encoder=NAME with tasks=PRESET")
    if not cfg.tasks and not cfg.mteb:
        raise ConfigError("an encoder as it is needs tasks to be judged by: tasks=stsb, or mteb=[]")
    for name, task in cfg.tasks.items():
        validate_task(str(name), task)


def evaluate(
    cfg: DictConfig,
    bundle: str | None,
    output: Path | None,
    *,
    only: Collection[str] | None = None,
) -> Evaluated:
    """Metrics of a model on one split of its tasks.

    Args:
        cfg: A configuration of the command.
        bundle: The bundle's folder; None: the configuration's encoder as it is.
        output: Where metrics and predictions are written; None writes nothing.
        only: The tasks that are evaluated; None: all of the bundle, or of the configuration.

    Raises:
        DataError: `output` cannot be written.
    """
    from candelabra.data.loading import texts_fingerprint
    from candelabra.evaluation import check_mteb, check_probes, mteb, probed, tested
    from candelabra.files import write_json
    from candelabra.quiet import quiet

    quiet()
    subject = subject_of(cfg, bundle, only=only)
    check_mteb(subject, cfg)
    check_probes(subject, cfg)
    found = tested(subject, cfg, output) | probed(subject, cfg)
    name = "val" if cfg.split == "validation" else cfg.split
    metrics = {f"{name}/{key}": value for key, value in found.items()}
    main = [metrics[key] for key in subject.main_keys(name) if key in metrics]
    if main:
        metrics[f"{name}/score"] = sum(main) / len(main)
    metrics |= mteb(subject, cfg)
    if output is not None:
        write_json(output / "metrics.json", metrics)
    asked = {task: texts_fingerprint(data.splits[cfg.split]) for task, data in subject.data.items()}
    return Evaluated(metrics, asked)


def subject_of(
    cfg: DictConfig, bundle: str | None, *, only: Collection[str] | None = None
) -> Subject:
    """The model to evaluate, with its tasks and their rows; rows are read before the model."""
    from candelabra.evaluation import Subject, untrained

    if bundle is not None:
        from candelabra.bundle import load

        opened = load(bundle, allow=list(cfg.allow))
        tasks = tasks_of(cfg, opened.config["tasks"], opened.labels)
        tasks = {name: task for name, task in tasks.items() if only is None or name in only}
        return Subject(opened, tasks, data_of(tasks, cfg.split), headed=set(tasks))
    tasks = {
        name: task for name, task in plain(cfg)["tasks"].items() if only is None or name in only
    }
    return untrained(cfg, tasks, data_of(tasks, cfg.split) if tasks else {})


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
        changed = {key: other[name][key] for key in OTHER_DATA if key in other.get(name, {})}
        source = {**changed.get("source", task["source"])}
        for key in ("data_dir", "folder"):
            if cfg.data_dir is not None and key in source:
                source[key] = cfg.data_dir
        # None: there are none, as of numbers.
        settings = {
            "labels": labels[name] or None,
            "inferred": task.get("labels") is None,
            "on_bad_row": cfg.on_bad_row,
        }
        tasks[name] = {**task, **changed, **settings, "source": source}
    return tasks
