"""What a yaml of conf/ says, read without Hydra, and where a configuration has to say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from candelabra.config.targets import conf_dir

MISSING = "???"


def leaves(node: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the place and the value of everything that is not a mapping, and of empty mappings."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, (*at, str(key)))
    else:
        yield at, node


def mounts(name: str, overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the places where the overrides put an option `GROUP/OPTION`."""
    group, _, option = name.rpartition("/")
    if "# @package _global_" in (conf_dir() / f"{name}.yaml").read_text():
        return [()]
    places = []
    for word in overrides:
        key, _, value = word.lstrip("+").partition("=")
        chosen, _, place = key.partition("@")
        if chosen == group and value == option:
            places.append(tuple((place or group).split(".")))
    return places


def differing(name: str, cfg: DictConfig, overrides: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """Return the values of a yaml that the configuration does not hold: key -> (yaml, found).

    Values that other values decide (`???`, interpolations) are not compared, nor keys that the
    overrides set.
    """
    said = read(conf_dir() / f"{name}.yaml")
    for key in ("defaults", "hydra"):
        said.pop(key, None)
    places = mounts(name, overrides)
    assert places, f"{overrides} choose no {name}"
    plain: Any = OmegaConf.to_container(cfg, resolve=False)
    given = {word.lstrip("+~").partition("=")[0] for word in overrides}
    wrong = {}
    for place in places:
        for key, value in leaves(said, place):
            dotted = ".".join(key)
            is_given = any(f"{dotted}.".startswith(f"{word}.") for word in given)
            if is_given or (isinstance(value, str) and (value == MISSING or "${" in value)):
                continue
            found = at(plain, key)
            if value == {} and isinstance(found, Mapping):
                continue  # Another yaml may add to an empty mapping.
            if found != value:
                wrong[dotted] = (value, found)
    return wrong


def at(node: Any, keys: Sequence[str]) -> Any:
    """Return the value under nested keys, or a text that no yaml holds."""
    for key in keys:
        if not isinstance(node, Mapping) or key not in node:
            return "<not there>"
        node = node[key]
    return node


def read(file: Path) -> dict[str, Any]:
    """Return a yaml as OmegaConf reads it."""
    plain: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return plain
