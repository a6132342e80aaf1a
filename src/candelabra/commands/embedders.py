"""What embeds texts in a command: a bundle, or an encoder as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from candelabra.errors import ConfigError, naming
from candelabra.rules import at_least, one_of
from candelabra.trusted import checked_folder

if TYPE_CHECKING:
    from candelabra.data.tokens import TextTokenizer
    from candelabra.embedding.embedder import Embedder
    from candelabra.model.multitask import MultiTaskModel

KEYS = ("bundle", "task")
"""What is taken verbatim; `task` would else be a group of yamls."""
PRECISIONS = ("32-true", "bf16-mixed", "auto")


def check(cfg: DictConfig, given: Mapping[str, str], overrides: Sequence[str]) -> None:
    """What can be said before anything heavy is imported.

    Args:
        cfg: The composed configuration.
        given: The verbatim words, `KEYS` among them or not.
        overrides: All other words as typed.

    Raises:
        ConfigError: A value is wrong, or something is given beside a bundle, or lacks one.
        BundleError: There is no such bundle.
    """
    at_least("batch_size", cfg.batch_size, 1)
    at_least("processes", cfg.processes, 1)
    one_of("precision", cfg.precision, PRECISIONS)
    if cfg.truncate_dim is not None:
        at_least("truncate_dim", cfg.truncate_dim, 1)
    if "bundle" not in given:
        if "task" in given:
            raise ConfigError("task chooses a task of a bundle: it needs bundle=FOLDER")
        return
    checked_folder(Path(given["bundle"]))
    for word in overrides:
        for group in ("encoder", "pooling"):
            if word.startswith((f"{group}=", f"{group}.")):
                raise ConfigError(f"{word}: a bundle brings its own {group}; leave out one of them")


def opened(cfg: DictConfig, given: Mapping[str, str]) -> Embedder:
    """The embedder that the command asks for, on its device.

    Raises:
        ConfigError: A setting that only the loaded model can refuse.
    """
    from candelabra import hardware
    from candelabra.bundle import load
    from candelabra.embedding.embedder import Embedder
    from candelabra.quiet import quiet

    quiet()
    device = hardware.device_type(cfg.accelerator)
    settings = {"normalize": cfg.normalize, "truncate_dim": cfg.truncate_dim}
    if "bundle" in given:
        bundle = load(given["bundle"], allow=list(cfg.allow), device=device)
        with naming(f"bundle={given['bundle']}"):
            return bundle.embedder(given.get("task"), **settings)
    model, tokenizer = untrained(cfg)
    with naming("encoder"):
        return Embedder(
            model.to(device), tokenizer, None, cfg.normalize is not False, cfg.truncate_dim
        )


def untrained(
    cfg: DictConfig, tasks: Mapping[str, Any] | None = None
) -> tuple[MultiTaskModel, TextTokenizer]:
    """The encoder and the pooling of a configuration as they are, with heads that need no training.

    Args:
        cfg: With the groups encoder and pooling.
        tasks: The nodes of tasks whose heads have no parameters.
    """
    from hydra.utils import instantiate

    from candelabra.model.multitask import assemble, start_from_pooler

    backbone = instantiate(cfg.encoder)
    tokenizer = backbone.tokenizer()
    model = assemble(
        backbone.load(),
        pooling=cfg.pooling,
        tasks=tasks or {},
        labels={name: [] for name in tasks or {}},
        make=instantiate,
    )
    start_from_pooler(model)
    return model.eval(), tokenizer
