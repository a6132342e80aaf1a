"""Command `candelabra pretrain`: learn the texts of the tasks, before a training."""

from __future__ import annotations

from candelabra.commands.train import run_command
from candelabra.errors import ConfigError

NO_EFFECT = (
    *("pooling", "adapter", "freeze", "balancing", "step", "weighting", "distillation"),
    *("sweep", "study", "head", "loss"),
    *("teacher", "init_from", "init_heads", "distill_frozen", "normalize", "test"),
    "feature_cache",
    *("train", "layer_mix", "cross", "loss_weight", "metrics", "main_metric", "max_tokens"),
)
"""Groups and keys of a training, and of its tasks, that a pre-training does not read."""

HELP = """candelabra pretrain [overrides]: train an encoder to predict tokens of the texts.

  data_dir=FOLDER experiment=imdb_mit_movie
                              the texts of these tasks, without their labels
  tasks=NAME                  a preset; +task@tasks.NAME=OPTION adds a task, ~tasks.NAME drops one
  tasks.NAME.unlabelled=FILE  more texts of a task
  encoder=NAME                the encoder to begin with
  method=masked_words         predict masked tokens (method.mask_probability=0.15), or
         tsdae                restore texts from their embeddings (method.deletion_probability=0.6)
  optimizer.lr=1e-4  trainer.max_epochs=3  batch_size=32  encoder.max_length=256  seed=0
  hydra.run.dir=FOLDER        the run folder itself
  resume=RUN_FOLDER           resumes an interrupted run
  trainer=ddp, ddp_cpu, multi_node
                              several GPUs or processes, the same global batches

The trained encoder lies in RUN_FOLDER/encoder. A training begins with it by

  candelabra train encoder=path encoder.name=RUN_FOLDER/encoder

Other settings are those of `candelabra train --help`, except those of heads: docs/pretraining.md.
"""


def main(overrides: list[str]) -> int:
    """Start or resume a pre-training; return the exit status."""
    if {"-m", "--multirun"} & set(overrides):
        raise ConfigError("pretrain is one run; a sweep of `train` may try several encoders")
    for word in overrides:
        key = word.partition("=")[0].lstrip("+~")
        first, parts = key.partition("@")[0].partition(".")[0], key.split(".")
        if first in NO_EFFECT or (first == "tasks" and {*parts[2:3]} & {*NO_EFFECT}):
            raise ConfigError(f"{key} has no effect on pretrain, which trains no heads")
    return run_command("pretrain", overrides)
