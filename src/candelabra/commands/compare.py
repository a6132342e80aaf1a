"""`candelabra compare`: two or more models on the same rows, side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from candelabra.commands.embedders import encoders
from candelabra.commands.evaluate import Evaluated, check_values, checked_output, evaluate
from candelabra.commands.verbatim import asked, compose
from candelabra.config import plain
from candelabra.errors import ConfigError, nearest
from candelabra.rules import at_least
from candelabra.trusted import checked_folder, stored_config
from candelabra.validation import validate_task

if TYPE_CHECKING:
    from candelabra.comparison import Comparison

HELP = """candelabra compare models=[A,B] [overrides]: models on the same rows, side by side.

  models=[A,B,...]  bundles, or run folders that hold one; or encoders without any training, such
                    as minilm; the first is the baseline
  tasks=PRESET      compares these tasks only, on this data; without: the tasks that all have,
                    each model on the data that it was trained from
  data_dir=FOLDER   in place of the folders that the bundles were trained from
  output=FOLDER     writes comparison.json, and each model's metrics and predictions, there
  split=test        or validation, train
  resamples=2000  seed=0    of the paired bootstrap
  --config-dir FOLDER
                    a folder of your own yamls beside candelabra's
  eval_batch_size=64  precision=auto  accelerator=auto  allow=[]

For the main metric of a task (accuracy, F1, a correlation) the difference to the first model
comes with its 95% interval, and for accuracy with the p-value of McNemar's test.
"""


@dataclass(frozen=True)
class Model:
    """What is compared.

    Attributes:
        name: As the person gave it.
        tasks: Its tasks' settings.
        cfg: The command's configuration, with the encoder where it is one.
        bundle: Its folder; None: the encoder as it is.
    """

    name: str
    tasks: dict[str, Any]
    cfg: DictConfig
    bundle: str | None

    def scored(self, tasks: Sequence[str], output: Path) -> Evaluated:
        """Its metrics; what it says of each row goes into `output / "predictions"`."""
        return evaluate(self.cfg, self.bundle, output, only=tasks)


def main(overrides: list[str]) -> int:
    """Evaluates each model, and prints one table."""
    cfg, given, rest = asked("compare", overrides, ("models", "output"))
    check_values(cfg)
    at_least("resamples", cfg.resamples, 1)
    at_least("seed", cfg.seed, 0)
    models = [opened(name, cfg, rest) for name in listed(given.get("models", ""))]
    tasks = common_tasks(models, list(cfg.tasks))
    if "output" in given:
        output = checked_output(given["output"])
        assert output is not None
        comparison = compare(cfg, models, tasks, output)
    else:
        with TemporaryDirectory() as folder:
            comparison = compare(cfg, models, tasks, Path(folder))

    from candelabra import report

    report.show(comparison.table(title=f"{cfg.split}: difference to {models[0].name}"))
    return 0


def compare(
    cfg: DictConfig, models: Sequence[Model], tasks: Sequence[str], output: Path
) -> Comparison:
    """Evaluates models one after the other, and compares what they say.

    Args:
        cfg: A configuration of the command.
        models: Two or more; the first is the baseline.
        tasks: The tasks that are compared.
        output: Where `comparison.json` and a folder for each model are written.

    Raises:
        DataError: Two models were not asked about the same rows.
    """
    from candelabra.comparison import check_same_texts, compared
    from candelabra.files import write_json

    folders = {model.name: output / str(place) for place, model in enumerate(models, 1)}
    found: dict[str, Evaluated] = {}
    for place, model in enumerate(models, 1):
        print(f"{place} of {len(models)}: {model.name}", file=sys.stderr)
        found[model.name] = model.scored(tasks, folders[model.name])
        check_same_texts({name: one.asked for name, one in found.items()})
    metrics = {name: one.metrics for name, one in found.items()}
    split = "val" if cfg.split == "validation" else cfg.split
    main_keys = {
        task: f"{split}/{task}/{models[0].tasks[task]['main_metric']}"
        for task in tasks
        if all(any(key.startswith(f"{split}/{task}/") for key in m) for m in metrics.values())
    }
    comparison = compared(
        metrics,
        {name: folder / "predictions" for name, folder in folders.items()},
        main_keys,
        resamples=cfg.resamples,
        seed=cfg.seed,
    )
    write_json(output / "comparison.json", comparison.plain())
    return comparison


def listed(words: str) -> list[str]:
    """The names in `A,B` or `[A,B]`.

    Raises:
        ConfigError: There are fewer than two, or one is there twice.
    """
    inner = words[1:-1] if words.startswith("[") and words.endswith("]") else words
    names = [name.strip() for name in inner.split(",") if name.strip()]
    if len(names) < 2:
        raise ConfigError(f"compare needs models=[A,B], two or more of them; found {names}")
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"models: {name} is there twice")
    return names


def opened(name: str, cfg: DictConfig, rest: Sequence[str]) -> Model:
    """A model by what a person calls it: an option of the group encoder, or a folder.

    Args:
        name: What the person typed.
        cfg: The command's configuration.
        rest: The words that it was composed of.

    Raises:
        BundleError: There is no such bundle, or its configuration is damaged.
        ConfigError: A task's settings break a rule.
        DataError: A source's files are missing.
    """
    if name in encoders(rest):
        words = [word for word in rest if not word.startswith("encoder=")]
        own = compose("compare", [*words, f"encoder={name}"])
        for task, node in own.tasks.items():
            validate_task(str(task), node)
        return Model(name, plain(own)["tasks"], own, None)
    folder = checked_folder(Path(name), key="models")
    return Model(name, stored_config(folder)["tasks"], cfg, name)


def common_tasks(models: Sequence[Model], wanted: Sequence[str]) -> list[str]:
    """The tasks that are compared: those wanted, or those that all models have.

    Raises:
        ConfigError: A model lacks a task that is wanted, or there is no common one.
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
            f"the models have no task in common ({has}); an encoder without training needs "
            "tasks=PRESET"
        )
    for name in every:
        if name not in common:
            lacking = next(model.name for model in models if name not in model.tasks)
            print(f"left out: task {name!r}, which {lacking} lacks", file=sys.stderr)
    return common
