"""Check a bundle's folder before anything in it is used."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from candelabra.bundle.config import FORMAT, BundleConfig, check_format
from candelabra.errors import BundleError

BUNDLE_FILES = (
    "config.json",
    "labels.json",
    "heads.safetensors",
    "encoder/config.json",
    "encoder/model.safetensors",
    "encoder/tokenizer.json",
)
"""Files that every bundle contains."""


CODE = {".py", ".pyc", ".so", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy"}
"""Extensions of files that are or may contain code, which are not allowed in a bundle."""


REDIRECTING = ("adapter_config.json", "modules.json")
"""Files that make a library read the encoder from other files, which no bundle has."""


CODE_KEYS = re.compile(
    r"auto_map|.*attn_implementation.*|.*kernel.*|quantization_config|(use_pretrained_)?backbone"
)
"""Settings that make transformers download or run other code."""


FILE_KEYS = re.compile(r"configuration_files|fast_tokenizer_files")
"""Settings that make transformers read other files than the usual ones."""


DEEPEST = 64
"""Maximum nesting of a JSON file; real ones have far less, and Python's stack allows far more."""


def checked_folder(folder: Path, *, key: str = "bundle") -> Path:
    """Check the files of a bundle, and return its folder.

    Args:
        folder: Folder of the bundle, or a run folder that contains it.
        key: Configuration key that gave the folder, for error messages.

    Raises:
        BundleError: If a file is missing, may contain code, or is a link out of the bundle.
    """
    if not (folder / "config.json").is_file() and (folder / "bundle").is_dir():
        folder = folder / "bundle"
    if not folder.is_dir():
        raise BundleError(f"{key}={folder}: no such folder")
    _check_no_other_format(folder / "config.json")
    for name in BUNDLE_FILES:
        if not (folder / name).is_file():
            raise BundleError(
                f"{key}={folder}: no bundle, it has no file {name}; a bundle is the folder "
                "RUN/bundle of a finished candelabra train, and RUN names it too"
            )
    for path in folder.rglob("*"):
        _check_kind(path, folder)
        if path.name in REDIRECTING:
            raise BundleError(f"{path}: leads to another encoder, which no bundle does")
        if path.suffix.lower() in CODE:
            raise BundleError(f"{path}: a bundle holds JSON and safetensors, and no code or pickle")
    for file in sorted((folder / "encoder").rglob("*")):
        if file.suffix.lower() == ".json":
            _check_no_code(file, read_json(file))
    return folder


def _check_kind(path: Path, folder: Path) -> None:
    """Raise BundleError for a link out of the folder, or anything but a file or a folder."""
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # a loop: RuntimeError before Python 3.13
        raise BundleError(f"{path}: a link that leads nowhere") from error
    if path.is_symlink() and not inside:
        raise BundleError(f"{path}: a link out of the bundle")
    # Opening a pipe would wait forever.
    if not (path.is_file() or path.is_dir()):
        raise BundleError(f"{path}: neither a file nor a folder")


def _check_no_other_format(file: Path) -> None:
    """Refuse a bundle of another format before its files are checked, which may be others."""
    if not file.is_file():
        return
    stored = read_json(file)
    if type(stored.get("format")) is int and stored["format"] != FORMAT:
        check_format(stored, file=file)


def stored_config(folder: Path) -> BundleConfig:
    """Return the configuration in a bundle's `config.json`.

    Raises:
        BundleError: The file is missing or damaged, or its tasks are not those of `labels.json`.
    """
    file = folder / "config.json"
    config, labels = BundleConfig.from_json(read_json(file), file=file), stored_labels(folder)
    if config.tasks.keys() != labels.keys():
        names = sorted(config.tasks.keys() ^ labels.keys())
        raise BundleError(f"{file}: the tasks and those of labels.json differ: {names}")
    return config


def stored_labels(folder: Path) -> dict[str, list[str]]:
    """Return the labels of each task in a bundle's `labels.json`.

    Raises:
        BundleError: The labels of a task are no list of names, or name one twice.
    """
    file = folder / "labels.json"
    labels = read_json(file)
    for task, names in labels.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BundleError(
                f"{file}: labels of {task} must be a list of names, found {reprlib.repr(names)}"
            )
        twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            raise BundleError(f"{file}: labels of {task} must differ, found {twice!r} twice")
    return labels


def stored_metrics(folder: Path) -> dict[str, float]:
    """Return the content of a bundle's `metrics.json`; empty if there is no such file.

    Raises:
        BundleError: If the content is not a flat object of numbers.
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
            # Accept numbers, since a vocabulary may map a word such as `kernel` to its id.
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
    """Return the JSON object in a file of a bundle; raise BundleError if there is none."""
    if not file.is_file():
        raise BundleError(f"{file}: no such file")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        # A ValueError means invalid UTF-8 or JSON, or a number with thousands of digits.
        raise BundleError(f"{file}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise BundleError(f"{file}: must hold a JSON object, found {type(found).__name__}")
    _check_depth(file, found)
    return found


def _check_depth(file: Path, found: dict[str, Any]) -> None:
    """Raise BundleError for deep nesting; go by levels, because recursion could fill the stack."""
    level: list[Any] = [found]
    for _ in range(DEEPEST):
        inner = [each.values() if isinstance(each, dict) else each for each in level]
        level = [child for each in inner for child in each if isinstance(child, (dict, list))]
        if not level:
            return
    raise BundleError(f"{file}: nested deeper than {DEEPEST} levels")
