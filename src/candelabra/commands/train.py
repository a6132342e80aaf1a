"""Command `candelabra train`: start or resume a run, or start a sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from candelabra.build.encoder_folder import report, take_folder_settings
from candelabra.commands.arguments import CONFIG_DIR, split_flags, split_verbatim
from candelabra.config.grammar import quoted
from candelabra.config.interpolations import check_interpolations
from candelabra.config.messages import explained
from candelabra.config.option_words import check_option_words
from candelabra.config.options import options_table
from candelabra.config.plain_form import environment_keys, plain
from candelabra.config.schema import RUN_ID, command_of, register
from candelabra.config.targets import conf_dir
from candelabra.errors import ConfigError, UserError
from candelabra.processes import (
    LAUNCHED,
    TRIAL,
    end_with_the_parent,
    launch,
    processes_of,
    started_from_outside,
)
from candelabra.run.place import Refused, check_free
from candelabra.run.record import record_end
from candelabra.run.resume import StoredRun, enter_working_folder, stored_run
from candelabra.run.start import check_settings
from candelabra.run.sweep import with_table
from candelabra.run.trial import given_config_dirs, trial

OF_THE_RUN = ("run", "overrides", "runtime", "searchpath")
"""Settings of Hydra that differ between runs. Stored yamls must not change any other setting."""

HELP = f"""candelabra train [-m] [overrides]: train one encoder with the heads of all tasks.

  experiment=quickstart       both heads on the bundled sample, as without any override
  experiment=imdb_mit_movie data_dir=FOLDER
                              IMDb sentiment and MIT Movie NER; best is the recipe
  tasks=NAME                  a preset; +task@tasks.NAME=OPTION adds a task, ~tasks.NAME drops one
  GROUP=OPTION                an option of one of the groups below
  init_from=BUNDLE            starts from the weights of a trained model
  teacher=BUNDLE              learns from the answers of a trained model beside the labels;
                              'teacher={{TASK:BUNDLE}}' for one task (docs/distillation.md)
  tasks.NAME.unlabelled=FILE  texts of a task that only the teacher answers
  head@tasks.NAME.head=mlp    another head
  seed=0  batch_size=32  trainer.max_epochs=3  optimizer.lr=2e-4  encoder.max_length=256
  hydra.run.dir=FOLDER        the run folder itself
  resume=RUN_FOLDER           resumes an interrupted run; type it where the run was started, or
                              name that folder by cwd=FOLDER
  trainer=ddp, ddp_cpu, multi_node
                              several GPUs or processes, the same global batches
  -m freeze=none,encoder pooling=mean,cls
                              a sweep: all combinations, one table at the end
  -m hydra.launcher.n_jobs=1 freeze=none,encoder
                              one trial at a time, not as many as cores and memory allow
  -m hydra/launcher=submitit_slurm freeze=none,encoder
                              the trials on a cluster (docs/sweeps.md)
  -m sweep=best experiment=best_small data_dir=FOLDER
                              a search by Optuna (docs/sweeps.md); test=false leaves the test
                              splits alone
  --cfg job                   print the configuration and stop
  --config-dir FOLDER         a folder of your own yamls, in addition to candelabra's

The groups with their options, the default one first; head, loss and task as tasks name them:

{options_table("train", also=("head", "loss", "task"))}

A wrong option names its group and lists the choices: try `pooling=help`.
"""


Train = Callable[[DictConfig, Path, list[str]], float | None]
"""Function (configuration, run folder, Hydra overrides) -> `val/score`, if this process trained."""


def main(overrides: list[str]) -> int:
    """Start a run or a sweep, or resume a run; return the exit status."""
    return run_command("train", overrides)


def run_command(command: str, overrides: list[str]) -> int:
    """Start or resume a run of a command, `train` or `pretrain`; return the exit status."""
    register()
    end_with_the_parent()
    verbatim, rest = split_verbatim(overrides, ("resume", "allow", "cwd"))
    if "resume" in verbatim:
        stored = stored_run_of(verbatim)
        started = command_of(stored.config)
        if started != command:
            raise ConfigError(
                f"resume={stored.folder}: candelabra {started} started this run, and resumes it"
            )
        return resume_run(stored, rest)
    if verbatim:
        raise ConfigError(f"{min(verbatim)}= needs resume=; a new run has no use for it")
    return start_run(rest, command)


def start_run(arguments: list[str], command: str = "train") -> int:
    """Start a run of a command, or every trial of a sweep; return the exit status."""

    def train(cfg: DictConfig, folder: Path, overrides: list[str]) -> float | None:
        """Train one new run, in this process or in several, and return its score."""
        _check_first_start(folder)
        check_settings(cfg, [] if TRIAL in os.environ else overrides)
        place = f"hydra.run.dir={quoted(str(folder))}"
        if _train_in_processes(cfg, folder, [*arguments, place]):
            return None
        # Torch and Lightning are imported after Hydra has set up its logging.
        from candelabra.run.start import run

        metrics = run(cfg, folder, overrides, config_dirs=given_config_dirs())
        return metrics.get("val/score")

    return _with_hydra(train, arguments, command)


def resume_run(stored: StoredRun, arguments: list[str]) -> int:
    """Resume an interrupted run; return the exit status.

    Args:
        stored: The run.
        arguments: Arguments of the command besides `resume=`, `allow=` and `cwd=`.

    Raises:
        ConfigError: An argument asks for a sweep, or changes what a resumed run must keep.
    """
    if {"-m", "--multirun"} & set(arguments):
        raise ConfigError("resume= resumes one run; -m with hydra.sweep.dir= resumes a sweep")
    typed = [f"resume={stored.folder}", f"allow={','.join(stored.allow)}", *arguments]

    def train(cfg: DictConfig, folder: Path, overrides: list[str]) -> float | None:
        """Continue the stored run, in this process or in several, and return its score."""
        stored.check(plain(cfg), typed=typed, readers=environment_keys(cfg))
        check_settings(cfg)
        if _train_in_processes(cfg, folder, typed):
            return None
        # Torch and Lightning are imported after Hydra has set up its logging.
        from candelabra.run.start import run

        config_dirs = given_config_dirs()
        metrics = run(cfg, folder, overrides, config_dirs=config_dirs, resume=stored)
        return metrics.get("val/score")

    return _with_hydra(train, _resume_arguments(stored, arguments), command_of(stored.config))


def stored_run_of(verbatim: Mapping[str, str]) -> StoredRun:
    """Return the run that `resume=` names, and change to the folder in which it was started.

    Raises:
        ConfigError: The run cannot be resumed.
    """
    allow = verbatim.get("allow", "").strip("[]").split(",")
    stored = stored_run(verbatim["resume"], allow=[name.strip() for name in allow])
    check_free(stored.folder, f"resume={verbatim['resume']}")
    return enter_working_folder(stored, verbatim.get("cwd"))


def _with_hydra(train: Train, arguments: list[str], command: str) -> int:
    """Compose the configuration with Hydra, and train; or run every trial of a sweep.

    Args:
        train: Function that trains.
        arguments: Overrides and flags of Hydra.
        command: Name of the command, which is that of its yaml.

    Returns:
        The exit status.
    """
    words, flags = split_flags(arguments)
    check_option_words(words, [Path(flag.rpartition("=")[2]) for flag in flags])
    # Hydra's parser accepts overrides only on one side of the flags.
    sys.argv = [f"candelabra {command}", *words, *flags]
    errors: list[UserError] = []

    def entry(cfg: DictConfig) -> float | None:
        """Run one training with the configuration that Hydra composed."""
        hydra_cfg = HydraConfig.get()
        # Keep the overrides unresolved, since one may refer to an environment variable.
        overrides = OmegaConf.to_container(hydra_cfg.overrides.task, resolve=False)
        assert isinstance(overrides, list)
        if hydra_cfg.mode is RunMode.MULTIRUN:
            return trial(cfg, overrides)
        try:
            with explained():
                check_interpolations(cfg)
                notes = take_folder_settings(cfg, [str(word) for word in overrides])
                report([] if LAUNCHED in os.environ else notes)
                return train(cfg, Path(hydra_cfg.runtime.output_dir), overrides)
        except UserError as error:
            # Hydra would print its own message if the error left this function.
            errors.append(error)
            return None

    hydra_main = hydra.main(config_path=str(conf_dir()), config_name=command, version_base="1.3")
    try:
        status = with_table(hydra_main(entry))
    except Refused as refused:
        raise refused.error from None
    if errors:
        raise errors[0]
    return status


def _train_in_processes(cfg: DictConfig, folder: Path, arguments: list[str]) -> bool:
    """Train in one process per device if there are several devices.

    Args:
        cfg: A configuration that passed `check_settings`.
        folder: The run folder.
        arguments: Arguments of `candelabra train` for each process.

    Returns:
        Whether other processes trained; if not, this process has to.

    Raises:
        ConfigError: The trainer does not fit the processes.
        SystemExit: A process failed or was interrupted.
    """
    if cfg.trainer.num_nodes > 1 and not (started_from_outside() or LAUNCHED in os.environ):
        raise ConfigError(
            "trainer.num_nodes above 1 is started by torchrun or srun: docs/mixing.md"
        )
    processes = processes_of(cfg.trainer)
    if processes == 1:
        return False
    if cfg.step.get("idle_heads") and cfg.trainer.strategy == "auto":
        raise ConfigError("a step with idle heads on several devices needs trainer=ddp")
    status = launch([sys.executable, "-m", "candelabra", command_of(cfg), *arguments], processes)
    if status not in (0, 129, 130, 143):
        record_end(folder / "run.json", status)
    if status != 0:
        raise SystemExit(status)
    return True


def _check_first_start(folder: Path) -> None:
    """Refuse a sweep without `-m`, and processes that would each use a folder of their own."""
    sweep = HydraConfig.get().runtime.choices.get("sweep")
    if sweep not in (None, "null") and TRIAL not in os.environ:
        raise ConfigError(f"sweep={sweep} is many runs: add -m to the same command")
    if started_from_outside() and RUN_ID.fullmatch(folder.name):
        raise ConfigError(
            "several processes were started from outside (WORLD_SIZE or SLURM_NTASKS is above 1): "
            "give all of them the same run folder, hydra.run.dir=FOLDER"
        )


def _resume_arguments(stored: StoredRun, typed: list[str]) -> list[str]:
    """Return the arguments of the first start and those typed with `resume=`.

    Raises:
        ConfigError: Stored yamls change settings of Hydra by which it calls functions, which
            happens before the configuration can be checked.
    """
    command = stored.command(typed)
    if stored.record["config_dirs"]:
        # Leave out values such as tasks.x.loss_weight=2: only a stored word may add the task x.
        choices = [word for word in typed if not _sets_a_value(word)]
        trusted, settings = (
            _hydra_settings(words, command_of(stored.config)) for words in (choices, command)
        )
        for key in sorted({*trusted, *settings} - {*OF_THE_RUN}):
            if trusted.get(key) != settings.get(key):
                raise ConfigError(
                    f"resume={stored.folder}: the yamls that the run was started with set "
                    f"hydra.{key}; that is not used again, type it together with resume="
                )
    return [*command, "hydra.callbacks.place.resumes=true"]


def _sets_a_value(word: str) -> bool:
    """Return whether a word sets a value, and neither chooses an option nor configures Hydra."""
    key = word.partition("=")[0].lstrip("+~")
    return "." in key and "@" not in key and not key.startswith(("-", "hydra"))


def _hydra_settings(arguments: list[str], command: str) -> dict[str, Any]:
    """Return the settings of Hydra for a command, without calling the targets in them."""
    words, flags = split_flags(arguments)
    folders = ", ".join(quoted(f"file://{folder}") for folder in flags if folder not in CONFIG_DIR)
    words.append(f"hydra.searchpath=[{folders}]")
    with hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose(command, words, return_hydra_config=True)
    settings = OmegaConf.to_container(cfg.hydra, resolve=False)
    assert isinstance(settings, dict)
    settings["job"].pop("override_dirname")
    return {str(key): value for key, value in settings.items()}
