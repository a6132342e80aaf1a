"""Settings of an encoder's folder, as defaults of the configuration."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, flag_override

from candelabra.config.targets import conf_dir
from candelabra.errors import ConfigError, naming
from candelabra.model.sentence_folder import (
    OPTIONS,
    SentencePooling,
    is_sentence_folder,
    max_length,
    prompts,
    sentence_pooling,
)
from candelabra.model.sentence_hub import sentence_home

PRETRAINED = "candelabra.model.backbones.Pretrained"


def take_folder_settings(cfg: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Fill in the settings of a folder that SentenceTransformer saved.

    Pooling, layers, `max_length`, `normalize` and the default prompt come from the folder. A given
    option takes precedence.

    Args:
        cfg: Composed configuration, which is changed in place.
        overrides: Overrides that it was composed from.

    Returns:
        Sentences about the settings of the folder, and about options that differ from them.

    Raises:
        ConfigError: The folder is damaged, or has a module that cannot be represented.
    """
    given = [word.lstrip("+~") for word in overrides]
    folder = _folder(cfg, given)
    if folder is None:
        return []
    name = cfg.encoder.name
    settings = _folder_settings(folder, cfg, given)
    conflicts = _conflicts(folder, cfg, settings)
    with flag_override(cfg, ["struct", "readonly"], False):
        for key, value in settings.items():
            OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    notes = []
    if settings:
        listed = ", ".join(f"{key} {_short(value)}" for key, value in settings.items())
        notes.append(f"saved by SentenceTransformer, which sets {listed}")
    notes += conflicts
    others = prompts(folder).others
    if others:
        named = ", ".join(f"{key} ({text!r})" for key, text in others.items())
        notes.append(f"prompts that only encoder.prompt= applies: {named}")
    return [f"encoder.name={name}: {note}" for note in notes]


def _folder_settings(folder: Path, cfg: DictConfig, given: Sequence[str]) -> dict[str, Any]:
    """Return key -> value for the settings that the folder determines.

    Raises:
        ConfigError: The folder is damaged, or has a module that cannot be represented.
    """
    settings: dict[str, Any] = {}
    pooling = None
    if _is_default(cfg, given, "pooling", ("pooling",)):
        pooling = sentence_pooling(folder)
        settings["pooling"] = _pooling_node(pooling)
        if "normalize" in cfg and not _typed(given, "normalize"):
            settings["normalize"] = pooling.normalize
    length = max_length(folder)
    if length is not None and _is_default(cfg, given, "encoder.max_length", ("encoder", "path")):
        settings["encoder.max_length"] = length
    prompt = prompts(folder).default
    if prompt and cfg.encoder.get("prompt") is None and not _typed(given, "encoder.prompt"):
        settings["encoder.prompt"] = prompt
    if pooling is not None and not pooling.include_prompt:
        _check_no_prompt(folder, settings.get("encoder.prompt", cfg.encoder.get("prompt")))
    return settings


def _folder(cfg: DictConfig, given: Sequence[str]) -> Path | None:
    """Return the folder that SentenceTransformer has saved, or `None` for another encoder.

    A model of the Hub counts if its name is typed: the options that name one decide for themselves.
    """
    encoder = cfg.get("encoder")
    name = encoder.get("name") if isinstance(encoder, DictConfig) else None
    if not isinstance(name, str):
        return None
    if is_sentence_folder(name):
        return Path(name)
    revision = encoder.get("revision")
    known = encoder.get("local") or encoder.get("sha256") or not _typed(given, "encoder.name")
    if (
        known
        or encoder.get("_target_") != PRETRAINED
        or not isinstance(revision, (str, type(None)))
    ):
        return None
    with naming("encoder", ("name",)):
        return sentence_home(name, revision)


def report(notes: Sequence[str]) -> None:
    """Print the sentences of `take_folder_settings` on standard error."""
    for note in notes:
        print(note, file=sys.stderr)


def _typed(given: Sequence[str], key: str) -> bool:
    return any(word.startswith((f"{key}=", f"{key}.", f"{key}@")) or word == key for word in given)


def _is_default(cfg: DictConfig, given: Sequence[str], key: str, option: tuple[str, ...]) -> bool:
    """Return whether neither an override nor a yaml has changed a setting.

    Args:
        cfg: Composed configuration.
        given: Overrides.
        key: The setting.
        option: Group, and the option whose yaml holds the default; the group `pooling` has `mean`.
    """
    if _typed(given, key):
        return False
    group, name = (option * 2)[0], option[1] if len(option) > 1 else "mean"
    default = OmegaConf.load(conf_dir() / group / f"{name}.yaml")
    inside = key.partition(".")[2]
    usual = OmegaConf.select(default, inside) if inside else default
    return bool(OmegaConf.select(cfg, key) == usual)


def _pooling_node(pooling: SentencePooling) -> DictConfig:
    if len(pooling.modes) == 1 and not pooling.layers:
        node = OmegaConf.load(conf_dir() / "pooling" / f"{OPTIONS[pooling.modes[0]]}.yaml")
    else:
        node = OmegaConf.load(conf_dir() / "pooling" / "modules.yaml")
        OmegaConf.update(node, "modes", list(pooling.modes))
        OmegaConf.update(node, "layers", list(pooling.layers))
    assert isinstance(node, DictConfig)
    return node


def _conflicts(folder: Path, cfg: DictConfig, settings: dict[str, Any]) -> list[str]:
    """Return a sentence for each option that differs from the setting of the folder."""
    notes = []
    length = max_length(folder)
    now = settings.get("encoder.max_length", cfg.encoder.get("max_length"))
    if length is not None and now != length:
        notes.append(f"max_seq_length is {length} there; encoder.max_length={now} wins")
    texts = prompts(folder)
    prompt = settings.get("encoder.prompt", cfg.encoder.get("prompt")) or ""
    if texts.default and prompt != texts.default:
        notes.append(f"its prompt is {texts.default!r}; encoder.prompt={prompt!r} wins")
    try:
        pooling = sentence_pooling(folder)
    except ConfigError as error:
        # The pooling is given, so the folder's own need not be readable.
        return [*notes, str(error).partition("; pooling=NAME")[0].partition(": ")[2]]
    node = _pooling_node(pooling)
    if "pooling" not in settings and cfg.pooling != node:
        notes.append(f"it pools by {_short(node)}; pooling {_short(cfg.pooling)} wins")
    normalize = settings.get("normalize", cfg.get("normalize"))
    if "normalize" in cfg and normalize is not None and normalize != pooling.normalize:
        notes.append(f"normalize is {pooling.normalize} there; normalize={normalize} wins")
    return notes


def _check_no_prompt(folder: Path, prompt: str | None) -> None:
    """Raise ConfigError for a prompt if the pooling of the folder must leave it out."""
    if prompt:
        raise ConfigError(
            f"encoder.name={folder}: include_prompt=false does not go together with the prompt "
            f"{prompt!r}; encoder.prompt='' leaves the prompt out"
        )


def _short(value: Any) -> str:
    if not isinstance(value, DictConfig):
        return repr(value)
    if "modes" not in value:
        return str(value["_target_"]).rpartition(".")[2]
    layers = [layer["kind"] for layer in value["layers"]]
    return "+".join(value["modes"]) + "".join(f" > {layer}" for layer in layers)
