"""`candelabra train`: from the configuration to a trained bundle, in order."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from candelabra.commands.arguments import CONFIG_DIR, split_flags, split_verbatim
from candelabra.config.messages import explained, quoted
from candelabra.config.schema import RUN_ID, plain, readers, register
from candelabra.config.targets import conf_dir
from candelabra.errors import ConfigError, UserError
from candelabra.files import read_json, write_json
from candelabra.processes import (
    LAUNCHED,
    end_with_the_parent,
    launch,
    processes_of,
    started_from_outside,
)
from candelabra.run.place import Refused, check_free
from candelabra.run.resume import StoredRun, go_back, stored_run
from candelabra.run.start import check_settings
from candelabra.run.sweep import with_table
from candelabra.run.trial import TRIAL, given_config_dirs, trial

OF_THE_RUN = ("run", "overrides", "runtime", "searchpath")
"""What Hydra's own settings say of one run; all others have to be those of any run."""

HELP = """candelabra train [-m] [overrides]: train one encoder with the heads of all tasks.

  experiment=quickstart       both heads on the bundled sample (default)
  experiment=imdb_mit_movie data_dir=FOLDER
                              IMDb sentiment and MIT Movie NER; also best (the recipe),
                              imdb_only, mit_movie_only, seed_imdb
  tasks=NAME                  a preset; +task@tasks.NAME=OPTION adds a task, ~tasks.NAME drops one
  encoder=minilm  pooling=mean  adapter=none  freeze=none  balancing=proportional  step=joint
  weighting=fixed  optimizer=adamw  scheduler=linear  trainer=auto  logger=default
  callbacks=default           the groups, with their default options
  init_from=BUNDLE            starts from the weights of a trained model
  head@tasks.NAME.head=mlp    another head
  seed=0  batch_size=32  trainer.max_epochs=3  optimizer.lr=1e-4  encoder.max_length=256
  hydra.run.dir=FOLDER        the run folder itself
  resume=RUN_FOLDER           goes on with an interrupted run, and needs nothing else where that
                              was started; cwd=FOLDER names that place from elsewhere
  trainer=ddp, ddp_cpu, multi_node
                              several GPUs or processes, the same global batches
  -m freeze=none,encoder pooling=mean,cls
                              a sweep: all combinations, one table at the end
  -m hydra/launcher=joblib hydra.launcher.n_jobs=2 freeze=none,encoder
                              two trials at a time; submitit_slurm: on a cluster (docs/sweeps.md)
  -m sweep=best experiment=best_small data_dir=FOLDER
                              a search by Optuna (docs/sweeps.md); test=false leaves the test
                              splits alone
  --cfg job                   print the configuration and stop
  --config-dir FOLDER         a folder of your own yamls beside candelabra's

A wrong option names its group and lists the choices: try `pooling=help`.
"""


def main(overrides: list[str]) -> int:
    """Composes, checks and runs; or runs every trial of a sweep."""
    register()
    end_with_the_parent()
    verbatim, rest = split_verbatim(overrides, ("resume", "allow", "cwd"))
    resume = resumed(verbatim)
    if resume is not None:
        if {"-m", "--multirun"} & set(rest):
            raise ConfigError("resume= goes on with one run; -m with hydra.sweep.dir= with a sweep")
        overrides = [f"resume={resume.folder}", f"allow={','.join(resume.allow)}", *rest]
    words, flags = split_flags(rest if resume is None else _same_command(resume, rest))
    # Hydra's parser takes overrides on one side of the flags only.
    sys.argv = ["candelabra train", *words, *flags]
    errors: list[UserError] = []

    def entry(cfg: DictConfig) -> float | None:
        hydra_cfg = HydraConfig.get()
        # Unresolved: an override may name an environment variable.
        given = OmegaConf.to_container(hydra_cfg.overrides.task, resolve=False)
        assert isinstance(given, list)
        if hydra_cfg.mode is RunMode.MULTIRUN:
            return trial(cfg, given)
        folder = Path(hydra_cfg.runtime.output_dir)
        try:
            with explained():
                return single(cfg, folder, given, resume=resume, typed=overrides)
        except UserError as error:
            # Raised from in here, Hydra would print a line of its own about it.
            errors.append(error)
            return None

    hydra_main = hydra.main(config_path=str(conf_dir()), config_name="train", version_base="1.3")
    try:
        status = with_table(hydra_main(entry))
    except Refused as refused:
        raise refused.error from None
    if errors:
        raise errors[0]
    return status


def _same_command(resume: StoredRun, typed: list[str]) -> list[str]:
    """The words of the first start and those typed beside `resume=`.

    Raises:
        ConfigError: What is stored changes settings by which Hydra calls functions, which it does
            before the configuration can be checked.
    """
    command = resume.command(typed)
    if resume.record["config_dirs"]:
        trusted, found = _hydra_settings(typed), _hydra_settings(command)
        for key in sorted({*trusted, *found} - {*OF_THE_RUN}):
            if trusted.get(key) != found.get(key):
                raise ConfigError(
                    f"resume={resume.folder}: the yamls that the run was started with set "
                    f"hydra.{key}; that is not used again, type it beside resume="
                )
    return command


def _hydra_settings(command: list[str]) -> dict[str, Any]:
    """Hydra's own node as it would be, without a call of anything that it names."""
    words, flags = split_flags(command)
    folders = ", ".join(quoted(f"file://{folder}") for folder in flags if folder not in CONFIG_DIR)
    words.append(f"hydra.searchpath=[{folders}]")
    with hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("train", words, return_hydra_config=True)
    settings = OmegaConf.to_container(cfg.hydra, resolve=False)
    assert isinstance(settings, dict)
    settings["job"].pop("override_dirname")
    return {str(key): value for key, value in settings.items()}


def single(
    cfg: DictConfig,
    folder: Path,
    overrides: list[str],
    *,
    resume: StoredRun | None,
    typed: Sequence[str],
) -> float | None:
    """One run, in this process or in one for each device.

    Args:
        cfg: The configuration, not checked yet.
        folder: The run folder.
        overrides: Its overrides.
        resume: The run that goes on; None starts one.
        typed: What the person typed after `candelabra train`.

    Returns:
        `val/score`, where it was this process that trained.
    """
    if resume is None:
        _check_first_start(folder)
    else:
        resume.check(plain(cfg), typed=typed, readers=readers(cfg))
    check_settings(cfg)
    if cfg.trainer.num_nodes > 1 and not (started_from_outside() or LAUNCHED in os.environ):
        raise ConfigError(
            "trainer.num_nodes above 1 is started by torchrun or srun: docs/mixing.md"
        )
    processes = processes_of(cfg.trainer)
    if processes > 1:
        if cfg.step.get("idle_heads") and cfg.trainer.strategy == "auto":
            raise ConfigError("a step with idle heads on several devices needs trainer=ddp")
        # A resumed run knows its folder; another has got one just now.
        place = [] if resume is not None else [f"hydra.run.dir={quoted(str(folder))}"]
        command = [sys.executable, "-m", "candelabra", "train", *typed, *place]
        status = launch(command, processes)
        record = read_json(folder / "run.json")
        if status not in (0, 130, 143) and record.get("status") == "interrupted":
            # The first process was told to end, since another had failed.
            write_json(folder / "run.json", {**record, "status": "failed"})
        if status != 0:
            raise SystemExit(status)
        return None

    # Hydra's own logging is up.
    from candelabra.run.start import run

    metrics = run(cfg, folder, overrides, config_dirs=given_config_dirs(), resume=resume)
    return metrics.get("val/score")


def _check_first_start(folder: Path) -> None:
    """Refuses a sweep without `-m`, and processes that would each take a folder of their own."""
    sweep = HydraConfig.get().runtime.choices.get("sweep")
    if sweep not in (None, "null") and TRIAL not in os.environ:
        raise ConfigError(f"sweep={sweep} is many runs: add -m to the same command")
    if started_from_outside() and RUN_ID.fullmatch(folder.name):
        raise ConfigError(
            "several processes were started from outside (WORLD_SIZE or SLURM_NTASKS is above 1): "
            "tell all of them the same run folder, hydra.run.dir=FOLDER"
        )


def resumed(given: Mapping[str, str]) -> StoredRun | None:
    """Return the run that `resume=` names; the working folder becomes that of its first start.

    Raises:
        ConfigError: It cannot be resumed, or `cwd=` stands without `resume=`.
    """
    if "resume" not in given:
        if "cwd" in given:
            raise ConfigError("cwd= belongs beside resume=; cd names the folder of a first start")
        return None
    allow = given.get("allow", "").strip("[]").split(",")
    run = stored_run(given["resume"], allow=[name.strip() for name in allow])
    check_free(run.folder, f"resume={given['resume']}")
    go_back(run, given.get("cwd"))
    return run
