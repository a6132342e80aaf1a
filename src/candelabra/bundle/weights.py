"""Load the tensors of a bundle, which must be exactly those of the model, and finite."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from candelabra.bundle.folder import read_json
from candelabra.errors import BundleError
from candelabra.model.adapters import adapter_state
from candelabra.model.encoder import Encoder
from candelabra.model.multitask import MultiTaskModel

SIZES = {
    "layers": re.compile(r"n_layers|num(_hidden)?_layers|num_hidden_groups|inner_group_num"),
    "size": re.compile(r"(vocab|hidden|intermediate|embedding|type_vocab)_size|(hidden_)?dim"),
    "positions": re.compile(r"(max_)?position_(embeddings|buckets)|max_relative_positions"),
}
"""Keys of an encoder's configuration by what they count."""
MOST_POSITIONS = 100_000


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file.

    Raises:
        BundleError: If the file is missing or damaged, or contains NaN or infinity.
    """
    if not file.is_file():
        raise BundleError(f"{file}: missing")
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise BundleError(f"{file}: damaged ({error})") from error
    _check_finite(file, tensors)
    return tensors


def check_sizes(folder: Path) -> None:
    """Refuse an encoder whose configuration is larger than its weights, before it is built.

    transformers would build it for hours, or until the memory is full.

    Raises:
        BundleError: The file is damaged, or has fewer tensors than the configuration has layers, or
            no tensor as wide as a size of the configuration, or a size is not positive.
    """
    file = folder / "model.safetensors"
    try:
        with safe_open(file, "pt") as stored:
            shapes = [stored.get_slice(name).get_shape() for name in stored.keys()]  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{file}: cannot be loaded as safetensors ({error})") from error
    widest = max((size for shape in shapes for size in shape), default=0)
    # Rotary positions have no tensor.
    bounds = {"layers": len(shapes), "size": widest, "positions": max(widest, MOST_POSITIONS)}
    for key, value in read_json(folder / "config.json").items():
        kind = next((kind for kind, names in SIZES.items() if names.fullmatch(key)), None)
        if kind is None or type(value) is not int:
            continue
        if value > bounds[kind]:
            raise BundleError(
                f"{folder / 'config.json'}: {key} must be at most {bounds[kind]}, which the "
                f"weights allow, got {reprlib.repr(value)}"
            )
        if value < 1 and kind == "size" and key != "type_vocab_size":
            raise BundleError(
                f"{folder / 'config.json'}: {key} must be 1 or more, got {reprlib.repr(value)}"
            )


def check_encoder(encoder: Encoder, file: Path) -> None:
    """Check that a file contains exactly the tensors of an encoder that was loaded from it.

    Transformers would silently initialise missing tensors at random, and ignore additional ones.

    Raises:
        BundleError: If the tensors of the file are not those of the encoder.
    """
    ours = encoder.backbone.state_dict()
    with safe_open(file, "pt") as stored:
        # The values are not needed here, since transformers has read them.
        found = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
        _check_names(file, found, ours)
        for name, tensor in ours.items():
            if not found[name].get_dtype().startswith(("F", "BF")) and tensor.is_floating_point():
                raise BundleError(
                    f"{file}: {name} has type {found[name].get_dtype()}, which is not for weights"
                )
    _check_finite(file, ours)


def load_weights(model: MultiTaskModel, file: Path) -> None:
    """Load all weights of a model except those of the encoder.

    Raises:
        BundleError: If the tensors of the file are not those of the model.
    """
    ours = model.state_dict()
    rest = {name: tensor for name, tensor in ours.items() if not name.startswith("encoder.")}
    tensors = read_tensors(file)
    _check_same(file, tensors, rest)
    model.load_state_dict(tensors, strict=False)


def load_adapters(encoder: Encoder, file: Path) -> None:
    """Load the weights of the adapters of the tasks.

    Raises:
        BundleError: If the tensors of the file are not those of the adapters.
    """
    tensors, ours = read_tensors(file), encoder.backbone.state_dict()
    _check_same(file, tensors, {name: ours[name] for name in adapter_state(encoder)})
    encoder.backbone.load_state_dict(tensors, strict=False)


def _check_same(file: Path, found: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> None:
    _check_names(file, found, ours)
    for name, tensor in ours.items():
        if tensor.shape != found[name].shape:
            there, here = list(found[name].shape), list(tensor.shape)
            raise BundleError(
                f"{file}: damaged, or of another model: {name} has shape {there}, must be {here}"
            )
        if tensor.is_floating_point() != found[name].is_floating_point():
            raise BundleError(f"{file}: {name} is {found[name].dtype}, not {tensor.dtype}")


def _check_names(file: Path, found: Mapping[str, object], ours: Mapping[str, object]) -> None:
    missing, beyond = ours.keys() - found.keys(), found.keys() - ours.keys()
    if missing or beyond:
        problems = [
            f"{verb} {_few(names)}"
            for verb, names in (("lacks", missing), ("has unknown", beyond))
            if names
        ]
        raise BundleError(f"{file}: {', and '.join(problems)}")


def _check_finite(file: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        # The sum is fast. It may overflow, so check each value only if it is not finite.
        finite = bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())
        if not finite:
            raise BundleError(f"{file}: damaged: {name} contains NaN or infinity")


def _few(names: Collection[str], *, most: int = 5) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return f"{shown[:most]}{more}"
