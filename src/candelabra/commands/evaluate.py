"""Command `candelabra evaluate`: metrics of a bundle or of a pretrained encoder."""

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

  bundle=FOLDER    a bundle, or a run folder that contains one
  encoder=NAME pooling=mean tasks=PRESET
                   a pretrained encoder; for classification tasks, a logistic regression is
                   trained on the embeddings of a few examples (MTEB's protocol)
  output=FOLDER    receives metrics.json and predictions/<task>.jsonl
  split=test       or validation, train
  data_dir=FOLDER  replaces the data folder of the bundle's training
  +task@tasks.NAME=OPTION
                   other data for the bundle's task NAME, with its trained head and labels
  mteb=[STSBenchmark,...]
                   tasks of MTEB by name (extra mteb), read from data_dir if it contains them
  --config-dir FOLDER
                   a folder of your own yamls, in addition to candelabra's
  eval_batch_size=64  precision=auto  accelerator=auto  allow=[]
"""

SPLITS = ("train", "validation", "test")
OTHER_DATA = ("source", *(key for key in DATA_KEYS if key not in ("labels", "on_bad_row")))
"""Task settings that the command may replace; the labels belong to the trained head."""


@dataclass(frozen=True)
class Evaluated:
    """Result of an evaluation.

    Attributes:
        metrics: Values by `<split>/<task>/<metric>`, `<split>/score` and `mteb/<task>/<score>`.
        asked: SHA-256 of the evaluated texts of each task.
    """

    metrics: dict[str, float]
    asked: dict[str, str]


def main(overrides: list[str]) -> int:
    """Evaluate a model, print its metrics and return the exit status."""
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
    """Check the output folder, whose files an evaluation may replace.

    Returns:
        The path of the folder, or `None` if `name` is `None`.

    Raises:
        ConfigError: The path is a file, or the folder of a run or a bundle.
    """
    if name is None:
        return None
    if Path(name).exists() and not Path(name).is_dir():
        raise ConfigError(f"output={name}: must be a folder, is a file")
    check_place(Path(name))
    for own in ("run.json", "heads.safetensors"):
        if (Path(name) / own).exists():
            raise ConfigError(f"output={name}: is the folder of a run or a bundle; choose another")
    return Path(name)


def check_values(cfg: DictConfig) -> None:
    """Check the values of the configuration.

    Raises:
        ConfigError: A value is invalid.
    """
    one_of("split", cfg.split, SPLITS)
    one_of("precision", cfg.precision, PRECISIONS)
    one_of("accelerator", cfg.accelerator, ACCELERATORS)
    at_least("eval_batch_size", cfg.eval_batch_size, 1)


def check_model(cfg: DictConfig, given: Mapping[str, str], rest: Sequence[str]) -> None:
    """Check that there is either a bundle or a pretrained encoder with tasks.

    Raises:
        BundleError: The bundle does not exist.
        ConfigError: There is neither, an encoder has no tasks, or a task is invalid.
    """
    if "bundle" in given:
        checked_folder(Path(given["bundle"]))
        refuse_beside_a_bundle(rest)
        return
    if not any(word.startswith("encoder=") for word in rest):
        raise ConfigError("evaluate needs bundle=FOLDER, or encoder=NAME with tasks=PRESET")
    if not cfg.tasks and not cfg.mteb:
        raise ConfigError(
            "a pretrained encoder needs tasks to be evaluated on: tasks=stsb, or mteb=[NAME]"
        )
    for name, task in cfg.tasks.items():
        validate_task(str(name), task)


def evaluate(
    cfg: DictConfig,
    bundle: str | None,
    output: Path | None,
    *,
    only: Collection[str] | None = None,
) -> Evaluated:
    """Compute the metrics of a model on one split of its tasks.

    Args:
        cfg: Configuration of the command.
        bundle: Folder of the bundle; `None` evaluates the pretrained encoder of the configuration.
        output: Folder for metrics and predictions; `None` writes nothing.
        only: Names of the evaluated tasks; `None` evaluates all tasks of the bundle or of the
            configuration.

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
    values = tested(subject, cfg, output) | probed(subject, cfg)
    name = "val" if cfg.split == "validation" else cfg.split
    metrics = {f"{name}/{key}": value for key, value in values.items()}
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
    """Load the model to evaluate, with its tasks and their rows.

    Args:
        cfg: Configuration of the command.
        bundle: Folder of the bundle; `None` selects the pretrained encoder of the configuration.
        only: Names of the evaluated tasks; `None` selects all.
    """
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
    """Load one split of every task that has it, and print the names of the other tasks.

    Raises:
        DataError: No task has the split, or its rows are invalid.
    """
    data: dict[str, TaskData] = {}
    for name, task in tasks.items():
        try:
            data |= tasks_data({name: task}, only=split)
        except MissingSplitError as error:
            print(f"skipped: {error}", file=sys.stderr)
    if not data:
        raise DataError(f"no task has a {split} split")
    return data


def tasks_of(
    cfg: DictConfig, stored: Mapping[str, Any], labels: Mapping[str, list[str]]
) -> dict[str, dict[str, Any]]:
    """Return the tasks of a bundle with the data settings of the command.

    Args:
        cfg: Configuration of the command, whose `tasks` and `data_dir` replace the data.
        stored: Task settings of the bundle.
        labels: Label names of each task of the bundle.

    Raises:
        ConfigError: The command names a task that the bundle does not have.
    """
    other = plain(cfg)["tasks"]
    unknown("tasks", other, stored)
    tasks = {}
    for name, task in stored.items():
        changed = {key: other[name][key] for key in OTHER_DATA if key in other.get(name, {})}
        source = {**changed.get("source", task["source"])}
        for key in ("data_dir", "folder"):
            if cfg.data_dir is not None and key in source:
                source[key] = cfg.data_dir
        # A task that predicts numbers has no labels: its setting is then `None`.
        settings = {
            "labels": labels[name] or None,
            "inferred": task.get("labels") is None,
            "on_bad_row": cfg.on_bad_row,
        }
        tasks[name] = {**task, **changed, **settings, "source": source}
    return tasks
