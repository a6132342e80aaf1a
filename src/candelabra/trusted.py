"""What a stored model may name and hold. Needs no Hydra: bundles load without it."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Collection, Mapping
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
CODE_KEYS = re.compile(r"auto_map|.*attn_implementation.*|.*kernel.*")
"""Settings by which transformers fetches and runs code from elsewhere."""


def conf_dir() -> Path:
    """The folder of yamls: inside an installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "conf", here.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"no conf folder beside {here} or at the top of its checkout")


@cache
def trusted_targets() -> frozenset[str]:
    """Every `_target_` that the shipped yamls use: all that a stored bundle may build from."""
    pattern = re.compile(r"^\s*_target_:\s*([\w.]+)", re.MULTILINE)
    return frozenset(
        target
        for file in conf_dir().rglob("*.yaml")
        for target in pattern.findall(file.read_text(encoding="utf-8"))
    )


def check_targets(node: Any, *, allow: Collection[str] = ()) -> None:
    """Refuses a stored node that would build from any name but the trusted ones.

    Args:
        node: Plain dicts and lists, as read from a bundle or run folder.
        allow: Further names that the person allows.

    Raises:
        ConfigError: An untrusted `_target_`, or an interpolation.
    """
    if isinstance(node, Mapping):
        if "_target_" in node:
            _check_target(node["_target_"], allow)
        for key, value in node.items():
            check_targets(key, allow=allow)
            check_targets(value, allow=allow)
    elif isinstance(node, list):
        for value in node:
            check_targets(value, allow=allow)
    elif isinstance(node, str) and "${" in node:
        raise ConfigError(f"a stored configuration holds plain values, found {node!r}")


def _check_target(target: Any, allow: Collection[str]) -> None:
    if not isinstance(target, str):
        raise ConfigError(f"_target_ must be a dotted name, found {target!r}")
    if target not in trusted_targets() and target not in allow:
        raise ConfigError(
            f"_target_ {target!r} is none of candelabra's own; "
            f'if you trust it, add "allow=[{target}]"'
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
    root = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise BundleError(f"{path}: a link out of the bundle")
        if path.suffix.lower() in CODE or path.name == "adapter_config.json":
            raise BundleError(f"{path}: a bundle holds JSON and safetensors, and no code or pickle")
    for file in (folder / "encoder").glob("*config.json"):
        _check_no_code(file, read_json(file))
    return folder


def stored_config(folder: Path) -> dict[str, Any]:
    """A bundle's `config.json`; raises BundleError unless it holds tasks."""
    file = folder / "config.json"
    stored = read_json(file)
    if not isinstance(stored.get("tasks"), dict):
        raise BundleError(f"{file}: tasks must be an object, found {stored.get('tasks')!r}")
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
            if CODE_KEYS.fullmatch(key) and value is not None:
                raise BundleError(f"{file}: '{key}' asks for code from elsewhere")
            _check_no_code(file, value)
    elif isinstance(node, list):
        for value in node:
            _check_no_code(file, value)


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file of a bundle; raises BundleError where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{file}: no JSON ({error})") from error
    if not isinstance(found, dict):
        raise BundleError(f"{file}: must hold a JSON object, found {type(found).__name__}")
    return found
