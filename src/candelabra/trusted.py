"""What a stored model may name and hold. Needs no Hydra: bundles load without it."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from candelabra.errors import BundleError, ConfigError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
"""A task's name: it becomes part of keys, module names and file names."""

BUNDLE_FILES = (
    "config.json",
    "labels.json",
    "heads.safetensors",
    "encoder/config.json",
    "encoder/model.safetensors",
    "encoder/tokenizer.json",
)
"""What a bundle has at least."""
CODE = {".py", ".pyc", ".so", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy"}
"""Endings of files that are code, or that can hold some: a bundle has none of them."""
CODE_KEYS = re.compile(
    r"auto_map|.*attn_implementation.*|.*kernel.*|quantization_config|(use_pretrained_)?backbone"
)
"""Settings by which transformers fetches and runs code from elsewhere."""
FILE_KEYS = re.compile(r"configuration_files|fast_tokenizer_files")
"""Settings by which transformers reads other files than the usual ones."""
DEEPEST = 64
"""Levels of a JSON file; far more than any of ours, and far less than Python's stack."""
TARGET = "_target_"


def conf_dir() -> Path:
    """The folder of yamls: inside an installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "conf", here.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"no conf folder beside {here} or at the top of its checkout")


@cache
def targets_by_place() -> dict[str, frozenset[str]]:
    """Return the targets of the shipped yamls by where they stand.

    A place is a group, such as `pooling`, or the key of a node inside a yaml, such as `source`.
    """
    found: dict[str, set[str]] = {}
    top = conf_dir()
    for file in top.rglob("*.yaml"):
        group = file.relative_to(top).parts[0]
        lines = file.read_text(encoding="utf-8").splitlines()
        nodes = list(_targets_in(lines))
        # The nodes of a yaml that is none itself, such as callbacks, are its group's.
        whole = any(key is None for key, _ in nodes)
        for key, target in nodes:
            places = {key or group} if whole else {key or group, group}
            for place in places:
                found.setdefault(place, set()).add(target)
    return {place: frozenset(targets) for place, targets in found.items()}


def _targets_in(lines: Sequence[str]) -> Iterator[tuple[str | None, str]]:
    """Yield each target with the key above it; None for that of the whole yaml."""
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
    """Every `_target_` that the shipped yamls use: all that a stored bundle may build from."""
    return frozenset().union(*targets_by_place().values())


def check_targets(node: Any, *, allow: Collection[str] = (), keys: tuple[str, ...] = ()) -> None:
    """Refuse a stored node that would build from any name but those trusted in its place.

    Args:
        node: Plain dicts and lists, as read from a bundle or run folder.
        allow: Further names that the person allows, anywhere.
        keys: Those under which the node stands; without any, each trusted name may stand there.

    Raises:
        ConfigError: An untrusted `_target_`, or an interpolation.
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
    elif isinstance(node, str) and "${" in node:
        raise ConfigError(f"a stored configuration holds plain values, found {node!r}")


def _check_target(target: Any, allow: Collection[str], keys: Sequence[str]) -> None:
    if not isinstance(target, str):
        raise ConfigError(f"_target_ must be a dotted name, found {reprlib.repr(target)}")
    if target in allow:
        return
    trust = f'if you trust it, add "allow=[{target}]"'
    if target not in trusted_targets():
        raise ConfigError(f"_target_ {target!r} is none of candelabra's own; {trust}")
    places = targets_by_place()
    place = next((key for key in reversed(keys) if key in places), None)
    if keys and (place is None or target not in places[place]):
        raise ConfigError(
            f"_target_ {target!r} does not belong at {'.'.join(keys)}: it is none of candelabra's "
            f"own for {place or keys[-1]}; {trust}"
        )


def checked_folder(folder: Path, *, key: str = "bundle") -> Path:
    """The bundle in `folder`, or in a run folder, after a look at its files.

    Args:
        folder: What a person gave.
        key: The key by which it was given.

    Raises:
        BundleError: A file is missing, is code or may hold some, or is a link out of the bundle.
    """
    if not (folder / "config.json").is_file() and (folder / "bundle").is_dir():
        folder = folder / "bundle"
    if not folder.is_dir():
        raise BundleError(f"{key}={folder}: no such folder")
    for name in BUNDLE_FILES:
        if not (folder / name).is_file():
            raise BundleError(f"{key}={folder}: no bundle, it has no file {name}")
    for path in folder.rglob("*"):
        _check_kind(path, folder)
        if path.suffix.lower() in CODE or path.name == "adapter_config.json":
            raise BundleError(f"{path}: a bundle holds JSON and safetensors, and no code or pickle")
    for file in sorted((folder / "encoder").rglob("*")):
        if file.suffix.lower() == ".json":
            _check_no_code(file, read_json(file))
    return folder


def _check_kind(path: Path, folder: Path) -> None:
    """Refuse a link out of the folder, and what is neither a file nor a folder."""
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # a RuntimeError before Python 3.13
        raise BundleError(f"{path}: a link that leads nowhere") from error
    if path.is_symlink() and not inside:
        raise BundleError(f"{path}: a link out of the bundle")
    # Opening a pipe would wait for ever.
    if not (path.is_file() or path.is_dir()):
        raise BundleError(f"{path}: neither a file nor a folder")


def stored_config(folder: Path) -> dict[str, Any]:
    """Return a bundle's `config.json`; raise BundleError unless it holds tasks with heads."""
    file = folder / "config.json"
    stored = read_json(file)
    if not isinstance(stored.get("tasks"), dict):
        raise BundleError(f"{file}: tasks must be an object, found {stored.get('tasks')!r}")
    for name, task in stored["tasks"].items():
        if not isinstance(task, dict) or not isinstance(task.get("head"), dict):
            found = reprlib.repr(task)
            raise BundleError(f"{file}: tasks.{name} must be an object with a head, found {found}")
    return stored


def stored_metrics(folder: Path) -> dict[str, float]:
    """A bundle's `metrics.json`, empty where there is none.

    Raises:
        BundleError: It is no flat object of numbers.
    """
    file = folder / "metrics.json"
    if not file.is_file():
        return {}
    metrics = read_json(file)
    for key, value in metrics.items():
        if type(value) not in (int, float):
            raise BundleError(f"{file}: {key!r} must be a number, found {reprlib.repr(value)}")
    return metrics


def _check_no_code(file: Path, node: Any) -> None:
    if isinstance(node, Mapping):
        for key, value in node.items():
            # A number names no code: vocabularies have words such as `kernel` for keys.
            names = value not in (None, False) and type(value) not in (int, float)
            if CODE_KEYS.fullmatch(key) and names:
                raise BundleError(f"{file}: '{key}' asks for code from elsewhere")
            if FILE_KEYS.fullmatch(key) and names:
                raise BundleError(f"{file}: '{key}' asks for other files than the usual ones")
            _check_no_code(file, value)
    elif isinstance(node, list):
        for value in node:
            _check_no_code(file, value)


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file of a bundle; raises BundleError where there is none."""
    if not file.is_file():
        raise BundleError(f"{file}: no such file")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        # A ValueError: no UTF-8, no JSON, or a number of thousands of digits.
        raise BundleError(f"{file}: no JSON ({error})") from error
    if not isinstance(found, dict):
        raise BundleError(f"{file}: must hold a JSON object, found {type(found).__name__}")
    _check_depth(file, found)
    return found


def _check_depth(file: Path, found: dict[str, Any]) -> None:
    """Refuse what is nested too deep; level by level, so that no depth fills the stack."""
    level: list[Any] = [found]
    for _ in range(DEEPEST):
        inner = [each.values() if isinstance(each, dict) else each for each in level]
        level = [child for each in inner for child in each if isinstance(child, (dict, list))]
        if not level:
            return
    raise BundleError(f"{file}: no JSON of ours, it is nested beyond {DEEPEST} levels")
