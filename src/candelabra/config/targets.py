"""Check of the classes that a stored configuration names; imports no Hydra, as bundles load."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from candelabra.config.environment import is_variable
from candelabra.errors import ConfigError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
"""A task's name: it becomes part of keys, module names and file names."""

TARGET = "_target_"

SOURCES = ("Files", "FilesOrHub", "Hub", "Sample")
"""Classes of `candelabra.data.sources` that may be targets even if no shipped yaml names them."""


def conf_dir() -> Path:
    """Return the folder of yamls: inside an installed package, or at the top of a checkout.

    Raises:
        ConfigError: Neither exists.
    """
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "conf", here.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"no folder conf in {here} or at the top of its checkout")


@cache
def targets_by_place() -> dict[str, frozenset[str]]:
    """Return the targets of the shipped yamls by their place.

    A place is a group, such as `pooling`, or the key of a node inside a yaml, such as `source`.
    """
    targets = {"source": {f"candelabra.data.sources.{name}" for name in SOURCES}}
    top = conf_dir()
    for file in top.rglob("*.yaml"):
        group = file.relative_to(top).parts[0]
        if group == "hydra":  # Samplers and pruners of searches are part of no bundle.
            continue
        lines = file.read_text(encoding="utf-8").splitlines()
        nodes = list(_targets_in(lines))
        # A yaml without a target of its own, such as those of callbacks, holds nodes of its group.
        whole = any(key is None for key, _ in nodes)
        for key, target in nodes:
            places = {key or group} if whole else {key or group, group}
            for place in places:
                targets.setdefault(place, set()).add(target)
    return {place: frozenset(names) for place, names in targets.items()}


def _targets_in(lines: Sequence[str]) -> Iterator[tuple[str | None, str]]:
    """Yield each target with the key of its node, which is `None` for the top of the yaml."""
    above: list[tuple[int, str]] = []
    for line in lines:
        match = re.match(r"(\s*(?:- )?)([\w.]+):\s*([\w.]*)", line)
        if match is None:
            continue
        depth, key, value = len(match[1]), match[2], match[3]
        above = [(indent, name) for indent, name in above if indent < depth]
        if key == TARGET and value:
            yield (above[-1][1] if above else None), value
        above.append((depth, key))


def trusted_targets() -> frozenset[str]:
    """Return each `_target_` of the shipped yamls; a stored bundle may build only these."""
    return frozenset().union(*targets_by_place().values())


def check_targets(node: Any, *, allow: Collection[str] = (), keys: tuple[str, ...] = ()) -> None:
    """Check that each `_target_` of a stored node is trusted at its place.

    Args:
        node: Plain dicts and lists, as read from a bundle or run folder.
        allow: Further targets that the user allows, at any place.
        keys: Path of the node. If it is empty, every trusted target is allowed at the top.

    Raises:
        ConfigError: A `_target_` is not trusted, or a value is an interpolation.
    """
    if isinstance(node, Mapping):
        if TARGET in node:
            _check_target(node[TARGET], allow, keys)
        for key, value in node.items():
            check_targets(key, allow=allow)
            check_targets(value, allow=allow, keys=(*keys, str(key)))
    elif isinstance(node, list):
        for value in node:
            check_targets(value, allow=allow, keys=keys)
    elif isinstance(node, str) and "${" in node and not is_variable(node, keys):
        raise ConfigError(f"a stored configuration holds plain values, found {node!r}")


def _check_target(target: Any, allow: Collection[str], keys: Sequence[str]) -> None:
    if not isinstance(target, str):
        raise ConfigError(f"_target_ must be a dotted name, found {reprlib.repr(target)}")
    if target in allow:
        return
    trust = f'if you trust it, add "allow=[{target}]"'
    if target not in trusted_targets():
        raise ConfigError(f"_target_ {target!r} is not one of candelabra's; {trust}")
    places = targets_by_place()
    place = next((key for key in reversed(keys) if key in places), None)
    if keys and (place is None or target not in places[place]):
        raise ConfigError(
            f"_target_ {target!r} does not belong at {'.'.join(keys)}: it is not one of "
            f"candelabra's for {place or keys[-1]}; {trust}"
        )
