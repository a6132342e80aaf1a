"""Command `candelabra compare`: evaluate two or more models on the same rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from candelabra.build.early import check_source
from candelabra.bundle.folder import checked_folder, stored_config
from candelabra.commands.arguments import compose, compose_command
from candelabra.commands.evaluate import checked_output
from candelabra.commands.models import encoders
from candelabra.config.plain_form import plain
from candelabra.config.validation import validate_task
from candelabra.errors import ConfigError, nearest, printable

if TYPE_CHECKING:
    from candelabra.evaluation.comparison import Comparison
    from candelabra.evaluation.evaluate import EvaluationResult

HELP = """candelabra compare models=[A,B] [overrides]: several models on the same rows.

  models=[A,B,...]  bundles, run folders that contain one, or pretrained encoders such as minilm;
                    the first is the baseline
  tasks=PRESET      compares only these tasks, on the data of the preset; default: the tasks that
                    all models have, each model on the data of its training
  data_dir=FOLDER   replaces the data folders of the bundles' training
  output=FOLDER     receives comparison.json, and each model's metrics and predictions
  split=test        or validation, train
  resamples=2000  seed=0    of the paired bootstrap
  --config-dir FOLDER
                    a folder of your own yamls, in addition to candelabra's
  eval_batch_size=64  precision=auto  accelerator=auto  allow=[]

For the main metric of a task (accuracy, F1, a correlation) the difference to the first model
is shown with its 95% interval, and for accuracy with the p-value of McNemar's test.
"""


@dataclass(frozen=True)
class Model:
    """One of the models that are compared.

    Attributes:
        name: Name on the command line.
        tasks: Settings of each task of the model.
        cfg: Configuration of the command. It selects the encoder if there is no bundle.
        bundle: Folder of the bundle; `None` for a pretrained encoder.
    """

    name: str
    tasks: dict[str, Any]
    cfg: DictConfig
    bundle: str | None

    def evaluate(self, tasks: Sequence[str], output: Path) -> EvaluationResult:
        """Evaluate the model and write its predictions to `output / "predictions"`."""
        from candelabra.evaluation.evaluate import evaluate

        return evaluate(self.cfg, self.bundle, output, only=tasks)


def main(overrides: list[str]) -> int:
    """Evaluate each model, print one table and return the exit status."""
    cfg, given, rest = compose_command("compare", overrides, ("models", "output"))
    models = [open_model(name, cfg, rest) for name in parse_names(given.get("models", ""))]
    tasks = common_tasks(models, list(cfg.tasks))
    if "output" in given:
        output = checked_output(given["output"])
        assert output is not None
        comparison = compare(cfg, models, tasks, output)
    else:
        with TemporaryDirectory() as folder:
            comparison = compare(cfg, models, tasks, Path(folder))

    from candelabra import tables

    tables.show(comparison.table(title=f"{cfg.split}: difference to {models[0].name}"))
    return 0


def compare(
    cfg: DictConfig, models: Sequence[Model], tasks: Sequence[str], output: Path
) -> Comparison:
    """Evaluate the models one after the other, and compare their metrics and predictions.

    Args:
        cfg: Configuration of the command.
        models: Two or more models; the first is the baseline.
        tasks: Names of the compared tasks.
        output: Folder that receives `comparison.json` and a subfolder for each model.

    Raises:
        DataError: Two models were not evaluated on the same texts.
    """
    from candelabra.evaluation.comparison import check_same_texts, compare_models
    from candelabra.files import write_json

    folders = {model.name: output / str(number) for number, model in enumerate(models, 1)}
    results: dict[str, EvaluationResult] = {}
    for number, model in enumerate(models, 1):
        print(printable(f"{number} of {len(models)}: {model.name}"), file=sys.stderr)
        results[model.name] = model.evaluate(tasks, folders[model.name])
        check_same_texts({name: result.text_hashes for name, result in results.items()})
    metrics = {name: result.metrics for name, result in results.items()}
    split = "val" if cfg.split == "validation" else cfg.split
    main_keys = {
        task: f"{split}/{task}/{models[0].tasks[task]['main_metric']}"
        for task in tasks
        if all(any(key.startswith(f"{split}/{task}/") for key in m) for m in metrics.values())
    }
    comparison = compare_models(
        metrics,
        {name: folder / "predictions" for name, folder in folders.items()},
        main_keys,
        resamples=cfg.resamples,
        seed=cfg.seed,
    )
    write_json(output / "comparison.json", comparison.plain())
    return comparison


def parse_names(words: str) -> list[str]:
    """Parse `A,B` or `[A,B]` into names.

    Raises:
        ConfigError: There are fewer than two names, or a name is repeated.

    Example:
        >>> parse_names("[minilm,mpnet]")
        ['minilm', 'mpnet']
    """
    inner = words[1:-1] if words.startswith("[") and words.endswith("]") else words
    names = [name.strip() for name in inner.split(",") if name.strip()]
    if len(names) < 2:
        raise ConfigError(f"compare needs models=[A,B], at least two names; found {names}")
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"models: {name} is given twice")
    return names


def open_model(name: str, cfg: DictConfig, rest: Sequence[str]) -> Model:
    """Resolve a name on the command line to a pretrained encoder or a bundle.

    Args:
        name: Option of the config group `encoder`, or a folder.
        cfg: Configuration of the command.
        rest: Overrides that `cfg` was composed from.

    Raises:
        BundleError: The bundle does not exist, or its configuration is damaged.
        ConfigError: A setting of a task is invalid.
        DataError: The files of a source are missing.
    """
    if name in encoders(rest):
        words = [word for word in rest if not word.startswith("encoder=")]
        own = compose("compare", [*words, f"encoder={name}"])
        for task, node in own.tasks.items():
            validate_task(str(task), node)
            check_source(str(task), node["source"])
        return Model(name, plain(own)["tasks"], own, None)
    folder = checked_folder(Path(name), key="models")
    return Model(name, dict(stored_config(folder).tasks), cfg, name)


def common_tasks(models: Sequence[Model], wanted: Sequence[str]) -> list[str]:
    """Return the requested tasks, or without a request the tasks that all models have.

    Raises:
        ConfigError: A model does not have a requested task, or the models have no common task.
    """
    for name in wanted:
        for model in models:
            if name not in model.tasks:
                has = ", ".join(model.tasks)
                near = nearest(name, model.tasks)
                raise ConfigError(f"tasks: {model.name} has no task {name!r}{near} (it has {has})")
    if wanted:
        return list(wanted)
    every = list(dict.fromkeys(name for model in models for name in model.tasks))
    common = [name for name in every if all(name in model.tasks for model in models)]
    if not common:
        has = "; ".join(f"{model.name}: {', '.join(model.tasks) or 'none'}" for model in models)
        raise ConfigError(
            f"the models have no task in common ({has}); a pretrained encoder needs tasks=PRESET"
        )
    for name in every:
        if name not in common:
            lacking = next(model.name for model in models if name not in model.tasks)
            print(
                printable(f"skipped: task {name!r}, because {lacking} does not have it"),
                file=sys.stderr,
            )
    return common
