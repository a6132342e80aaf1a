"""Embedding model of a command: a bundle or a pretrained encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from candelabra.bundle.cross_encoders import no_vectors
from candelabra.bundle.folder import checked_folder, stored_config
from candelabra.checks import installed, one_of
from candelabra.commands.arguments import split_config_dir
from candelabra.config.keys import ONNX_INT8, TORCH
from candelabra.config.targets import conf_dir
from candelabra.errors import ConfigError, DataError, naming
from candelabra.exporting.formats import ONNX_PACKAGES

if TYPE_CHECKING:
    from candelabra.bundle.bundle import Bundle
    from candelabra.embedding.embedder import Embedder

KEYS = ("bundle", "task")
"""Keys whose values are verbatim; Hydra would interpret `task` as a config group."""


def check(cfg: DictConfig, given: Mapping[str, str], overrides: Sequence[str]) -> None:
    """Check the settings of the embedding model without importing large libraries.

    Args:
        cfg: Composed configuration.
        given: Verbatim values, which may contain `KEYS`.
        overrides: All other command-line arguments.

    Raises:
        BundleError: The bundle does not exist, or its configuration is damaged.
        ConfigError: A value is invalid, `task` is given without a bundle, the task has no
            embeddings of single texts, or an override conflicts with the bundle.
    """
    check_backend(cfg)
    if "bundle" not in given:
        if "task" in given:
            raise ConfigError("task chooses a task of a bundle: it needs bundle=FOLDER")
        return
    tasks = stored_config(checked_folder(Path(given["bundle"]))).tasks
    if "task" in given:
        one_of("task", given["task"], tasks)
    crossed = no_vectors(tasks, given.get("task"))
    if crossed:
        raise ConfigError(
            f"bundle={given['bundle']}: tasks.{crossed} is a cross-encoder, which has no "
            "embeddings of single texts; search uses it with rerank=BUNDLE"
        )
    check_no_encoder_options(overrides)


def check_backend(cfg: DictConfig) -> None:
    """Check that this machine has what the backend needs, and set its device and precision.

    Raises:
        ConfigError: A package is missing, or the device or precision is not that of the backend.
    """
    if cfg.backend == TORCH:
        return
    setting = f"backend={cfg.backend}"
    installed(setting, ONNX_PACKAGES, extra="onnx")
    one_of(f"{setting}: accelerator", cfg.accelerator, ("auto", "cpu"))
    one_of(f"{setting}: precision", cfg.precision, ("auto", "32-true"))
    cfg.accelerator, cfg.precision = "cpu", "32-true"


def use_backend(cfg: DictConfig, bundle: Bundle) -> None:
    """Let the backend of the command compute the encoder of a bundle.

    Raises:
        ConfigError: The backend cannot compute this encoder.
        DataError: The graph cannot be written.
    """
    if cfg.backend == TORCH:
        return
    from candelabra.model.onnx_backbone import compute_with_onnx

    folder = Path(cfg.cache_dir)
    try:
        compute_with_onnx(bundle.model, bundle.tokenizer, folder, int8=cfg.backend == ONNX_INT8)
    except OSError as error:
        raise DataError(f"cache_dir={folder}: {error.strerror or error}") from error


def check_no_encoder_options(overrides: Sequence[str]) -> None:
    """Reject settings of encoder and pooling, which a bundle contains itself.

    Raises:
        ConfigError: An override selects or changes the encoder or the pooling.
    """
    for word in overrides:
        for group in ("encoder", "pooling"):
            if word.startswith((f"{group}=", f"{group}.")):
                raise ConfigError(f"{word}: a bundle contains its own {group}; omit one of the two")


def encoders(overrides: Sequence[str]) -> list[str]:
    """Return the options of the config group `encoder`, including those of `--config-dir`."""
    _, own = split_config_dir(overrides)
    folders = [folder / "encoder" for folder in (conf_dir(), own) if folder is not None]
    return sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})


def open_embedder(cfg: DictConfig, given: Mapping[str, str]) -> Embedder:
    """Load the embedding model of the command on its device.

    Args:
        cfg: Configuration of the command.
        given: Verbatim values; `bundle` selects a bundle, and `task` one of its tasks.

    Raises:
        ConfigError: A setting does not fit the loaded model.
    """
    from candelabra import hardware
    from candelabra.bundle.bundle import load
    from candelabra.quiet import quiet

    quiet()
    device = hardware.device_type(cfg.accelerator)
    settings = {"normalize": cfg.get("normalize"), "truncate_dim": cfg.truncate_dim}
    if "bundle" in given:
        bundle = load(given["bundle"], allow=list(cfg.allow), device=device)
        use_backend(cfg, bundle)
        with naming(f"bundle={given['bundle']}"):
            return bundle.embedder(given.get("task"), **settings)
    from candelabra.build.untrained import untrained

    bundle = untrained(cfg, {}, {})[0]
    bundle.model.to(device)
    use_backend(cfg, bundle)
    with naming("encoder"):
        return bundle.embedder(**settings)
