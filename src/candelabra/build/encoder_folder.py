"""Settings that an encoder's folder brings along, as the defaults of the configuration."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, flag_override

from candelabra.config.targets import conf_dir
from candelabra.errors import ConfigError
from candelabra.model.sentence_folder import (
    SentencePooling,
    is_sentence_folder,
    max_length,
    prompts,
    sentence_pooling,
)

OPTIONS = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weighted_mean",
    "lasttoken": "last_token",
}
"""Poolings of sentence-transformers -> options of the group `pooling`."""


def take_folder_settings(cfg: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Let a folder saved by SentenceTransformer set what no option sets.

    Pooling, layers, `max_length`, `normalize` and the default prompt come from the folder. An
    option that is given wins.

    Args:
        cfg: Composed configuration, which is changed in place.
        overrides: Overrides that it was composed from.

    Returns:
        Sentences about what comes from the folder, and about options that say otherwise.

    Raises:
        ConfigError: The folder is damaged, or has a module that cannot be represented.
    """
    name = cfg.encoder.get("name") if isinstance(cfg.get("encoder"), DictConfig) else None
    if not isinstance(name, str) or not is_sentence_folder(name):
        return []
    folder = Path(name)
    wanted: dict[str, Any] = {}
    given = [word.lstrip("+~") for word in overrides]
    pooling = None
    if _is_default(cfg, given, "pooling", ("pooling",)):
        pooling = sentence_pooling(folder)
        wanted["pooling"] = _pooling_node(pooling)
        if "normalize" in cfg and not _typed(given, "normalize"):
            wanted["normalize"] = pooling.normalize
    length = max_length(folder)
    if length is not None and _is_default(cfg, given, "encoder.max_length", ("encoder", "path")):
        wanted["encoder.max_length"] = length
    texts = prompts(folder)
    if texts.default and cfg.encoder.get("prompt") is None and not _typed(given, "encoder.prompt"):
        wanted["encoder.prompt"] = texts.default
    if pooling is not None and not pooling.include_prompt:
        _refuse_unpooled(folder, wanted.get("encoder.prompt", cfg.encoder.get("prompt")))
    others = _others(folder, cfg, wanted)
    with flag_override(cfg, ["struct", "readonly"], False):
        for key, value in wanted.items():
            OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    said = ", ".join(f"{key} {_short(value)}" for key, value in wanted.items())
    notes = (
        [f"encoder.name={name}: saved by SentenceTransformer, which sets {said}"] if said else []
    )
    notes += [f"encoder.name={name}: {other}" for other in others]
    if texts.others:
        named = ", ".join(f"{key} ({text!r})" for key, text in texts.others.items())
        notes.append(f"encoder.name={name}: prompts that only encoder.prompt= applies: {named}")
    return notes


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


def _others(folder: Path, cfg: DictConfig, wanted: dict[str, Any]) -> list[str]:
    """Return a sentence for each option that says otherwise than the folder."""
    said = []
    length = max_length(folder)
    now = wanted.get("encoder.max_length", cfg.encoder.get("max_length"))
    if length is not None and now != length:
        said.append(f"max_seq_length is {length} there; encoder.max_length={now} wins")
    texts = prompts(folder)
    prompt = wanted.get("encoder.prompt", cfg.encoder.get("prompt")) or ""
    if texts.default and prompt != texts.default:
        said.append(f"its prompt is {texts.default!r}; encoder.prompt={prompt!r} wins")
    try:
        pooling = sentence_pooling(folder)
    except ConfigError as error:
        # The pooling is given, so the folder's own need not be readable.
        return [*said, str(error).partition("; pooling=NAME")[0].partition(": ")[2]]
    node = _pooling_node(pooling)
    if "pooling" not in wanted and cfg.pooling != node:
        said.append(f"it pools by {_short(node)}; pooling {_short(cfg.pooling)} wins")
    normalize = wanted.get("normalize", cfg.get("normalize"))
    if "normalize" in cfg and normalize is not None and normalize != pooling.normalize:
        said.append(f"normalize is {pooling.normalize} there; normalize={normalize} wins")
    return said


def _refuse_unpooled(folder: Path, prompt: str | None) -> None:
    if prompt:
        raise ConfigError(
            f"encoder.name={folder}: include_prompt=false cannot be kept beside the prompt "
            f"{prompt!r}; encoder.prompt='' leaves the prompt out"
        )


def _short(value: Any) -> str:
    if not isinstance(value, DictConfig):
        return repr(value)
    if "modes" not in value:
        return str(value["_target_"]).rpartition(".")[2]
    layers = [layer["kind"] for layer in value["layers"]]
    return "+".join(value["modes"]) + "".join(f" > {layer}" for layer in layers)
