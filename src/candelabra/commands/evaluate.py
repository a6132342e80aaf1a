"""Command `candelabra evaluate`: metrics of a bundle or of a pretrained encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from candelabra.build.early import check_source
from candelabra.bundle.folder import checked_folder
from candelabra.commands.arguments import compose_command
from candelabra.commands.models import check_no_encoder_options
from candelabra.config.validation import validate_task
from candelabra.errors import ConfigError, DataError
from candelabra.files import check_place

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


def main(overrides: list[str]) -> int:
    """Evaluate a model, print its metrics and return the exit status."""
    cfg, given, rest = compose_command("evaluate", overrides, ("bundle", "output"))
    check_model(cfg, given, rest)
    output = checked_output(given.get("output"))
    from candelabra.evaluation.evaluate import evaluate

    try:
        metrics = evaluate(cfg, given.get("bundle"), output).metrics
    except OSError as error:
        # The user can only repair errors of the output.
        file = Path(str(error.filename)).absolute()
        if output is None or not file.is_relative_to(output.absolute()):
            raise
        reason = error.strerror or error
        raise DataError(f"output={output}: cannot be written: {reason}") from error

    from candelabra import tables

    split = "val" if cfg.split == "validation" else cfg.split
    name = given.get("bundle") or next(word for word in rest if word.startswith("encoder="))
    tables.show(
        *tables.types_tables(metrics, split),
        tables.metrics_table(metrics, title=f"{name}: {cfg.split}", splits=[split, "mteb"]),
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


def check_model(cfg: DictConfig, given: Mapping[str, str], rest: Sequence[str]) -> None:
    """Check that there is either a bundle or a pretrained encoder with tasks.

    Raises:
        BundleError: The bundle does not exist.
        ConfigError: There is neither, an encoder has no tasks, or a task is invalid.
    """
    if "bundle" in given:
        checked_folder(Path(given["bundle"]))
        check_no_encoder_options(rest)
        return
    if not any(word.startswith("encoder=") for word in rest):
        raise ConfigError("evaluate needs bundle=FOLDER, or encoder=NAME with tasks=PRESET")
    if not cfg.tasks and not cfg.mteb:
        raise ConfigError(
            "a pretrained encoder needs tasks to be evaluated on: tasks=stsb, or mteb=[NAME]"
        )
    for name, task in cfg.tasks.items():
        validate_task(str(name), task)
        check_source(str(name), task["source"])
