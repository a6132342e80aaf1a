"""`candelabra train`: from the configuration to a trained bundle, in order."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from candelabra.commands.flags import split_flags
from candelabra.config import plain, register, run_id_of, validate
from candelabra.errors import UserError
from candelabra.hydra_messages import building, explained
from candelabra.sweep import Outcome, failed, run_trial, show_sweep
from candelabra.trusted import conf_dir

if TYPE_CHECKING:
    from candelabra.training.run_folder import RunFolder

HELP = """candelabra train [-m] [overrides]: train one encoder with the heads of all tasks.

  experiment=quickstart       both heads on the bundled sample (default)
  experiment=imdb_mit_movie data_dir=FOLDER
                              IMDb sentiment and MIT Movie NER; also imdb_only,
                              mit_movie_only, seed_imdb
  tasks=NAME                  a preset; +task@tasks.NAME=OPTION adds a task, ~tasks.NAME drops one
  encoder=minilm  pooling=mean  freeze=none  balancing=proportional  step=joint
  weighting=fixed  optimizer=adamw  scheduler=linear  trainer=auto  logger=default
  callbacks=default           the groups, with their default options
  head@tasks.NAME.head=mlp    another head
  seed=0  batch_size=32  trainer.max_epochs=3  optimizer.lr=1e-4  encoder.max_length=256
  hydra.run.dir=FOLDER        the run folder itself
  -m freeze=none,encoder pooling=mean,cls
                              a sweep: all combinations, one table at the end
  --cfg job                   print the configuration and stop
  --config-dir FOLDER         a folder of your own yamls beside candelabra's

A wrong option names its group and lists the choices: try `pooling=help`.
"""


def main(overrides: list[str]) -> int:
    """Composes, checks and runs; or runs every trial of a sweep."""
    register()
    words, flags = split_flags(overrides)
    # Hydra's parser takes overrides on one side of the flags only.
    sys.argv = ["candelabra train", *words, *flags]
    outcomes: list[Outcome] = []
    errors: list[UserError] = []

    def entry(cfg: DictConfig) -> float | None:
        hydra_cfg = HydraConfig.get()
        folder = Path(hydra_cfg.runtime.output_dir)
        # Unresolved: an override may name an environment variable.
        given = OmegaConf.to_container(hydra_cfg.overrides.task, resolve=False)
        assert isinstance(given, list)
        if hydra_cfg.mode is RunMode.MULTIRUN:
            outcomes.append(trial(cfg, folder, given))
            return outcomes[-1]["metrics"].get("val/score")
        try:
            with explained():
                validate(cfg)
                return run(cfg, folder, given).get("val/score")
        except UserError as error:
            # Raised from in here, Hydra would print a line of its own about it.
            errors.append(error)
            return None

    hydra.main(config_path=str(conf_dir()), config_name="train", version_base="1.3")(entry)()
    if errors:
        raise errors[0]
    return show_sweep(outcomes) if outcomes else 0


def trial(cfg: DictConfig, folder: Path, overrides: list[str]) -> Outcome:
    """One combination of a sweep, in a process of its own; a wrong one is a failed trial."""
    try:
        with explained():
            validate(cfg)
    except UserError as error:
        return failed(folder, overrides, str(error))
    return run_trial(folder, overrides, config_dirs=config_dirs())


def config_dirs() -> list[str]:
    """The folders of yamls that the person gave beside candelabra's own."""
    sources = HydraConfig.get().runtime.config_sources
    return [source.path for source in sources if source.provider == "command-line"]


def run(cfg: DictConfig, folder: Path, overrides: list[str]) -> dict[str, float]:
    """One training with its record; the folder says how it ended, whatever happens.

    Args:
        cfg: A configuration that passed `validate`.
        folder: The run folder.
        overrides: What the person typed, for the record.

    Returns:
        The metrics, as in `metrics.json`.
    """
    # Hydra's own logging is up; from here on imports take seconds.
    from candelabra.training.run_folder import RunFolder

    record = RunFolder(folder, run_id_of(folder))
    record.start(plain(cfg), overrides)
    try:
        metrics = train(cfg, record)
    except BaseException as error:  # recorded, whatever it is, and raised again
        interrupted = isinstance(error, (KeyboardInterrupt, SystemExit))
        record.finish("interrupted" if interrupted else "failed", error=repr(error))
        if isinstance(error.__context__, KeyboardInterrupt):
            # Lightning makes a plain exit with status 1 of it.
            raise KeyboardInterrupt from error
        raise
    record.finish("finished")
    return metrics


def train(cfg: DictConfig, record: RunFolder) -> dict[str, float]:
    """Data, model, trainer, fit, test, bundle: the one path from configuration to result."""
    import pytorch_lightning as pl

    from candelabra import build, finishing, hardware, report
    from candelabra.data.module import MultiTaskDataModule
    from candelabra.quiet import quiet
    from candelabra.training.tracking import tracked

    config = plain(cfg)
    quiet()
    device = hardware.device_type(cfg.trainer.accelerator)
    precision = hardware.precision(cfg.trainer.precision, device)
    pl.seed_everything(cfg.seed, verbose=False)

    with building():
        backbone = build.backbone(cfg.encoder)
        data = build.tasks_data(cfg.tasks)
        tokenizer = backbone.tokenizer()
        splits = build.tokenized_tasks(data, tokenizer, cfg.paths.cache_dir)
        schedule = build.schedule(cfg, splits)
        datamodule = MultiTaskDataModule(
            splits,
            schedule=schedule,
            eval_batch_size=cfg.eval_batch_size,
            num_workers=cfg.num_workers,
        )
        labels = {name: task.labels for name, task in data.items()}
        model = build.model(cfg, labels, backbone.load())
        total_steps = schedule.steps_per_epoch * cfg.trainer.max_epochs
        module = build.module(cfg, model, labels, total_steps)
        module.configure_optimizers()  # a wrong setting is said now, not when the fit starts
        trainer = build.trainer(cfg, precision=precision, record=record)

    report.show(report.tasks_table(data, schedule), report.model_table(model))
    record.update(
        device=device,
        precision=precision,
        fingerprints={name: task.fingerprint for name, task in data.items()},
        skipped={name: task.skipped for name, task in data.items()},
        steps_per_epoch=schedule.steps_per_epoch,
    )
    with tracked(trainer, config, cfg.tasks):
        started = time.perf_counter()
        trainer.fit(module, datamodule=datamodule)
        seconds = time.perf_counter() - started
        record.update(**finishing.pace(module.steps_done, splits, schedule, seconds))
        metrics = finishing.test_best(trainer, module, datamodule, record.path)
        record.metrics(metrics)
        finishing.bundle(config, model, tokenizer, labels, metrics).save(record.path / "bundle")
    report.show(*report.result_tables(metrics), f"run folder: {record.path}")
    return metrics
