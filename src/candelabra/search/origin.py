"""Identification of the model and settings that computed the vectors of an index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from candelabra.embedding.embedder import Embedder
from candelabra.errors import DataError
from candelabra.model.pooling import FunctionPooling
from candelabra.model.sentence_modules import SentenceModules


def origin_of(embedder: Embedder, name: str) -> dict[str, Any]:
    """Describe an embedder. Embedders with equal descriptions compute equal embeddings.

    Args:
        embedder: The embedder.
        name: Name of the model for messages. It is not compared.

    Returns:
        JSON-serializable settings and checksums.
    """
    model, task = embedder.model, embedder.task
    pooling = model.pooling if task is None else model.pooling_of(task)
    parts = {"encoder": model.encoder, "pooling": pooling}
    if task is not None and task in model.mixes:
        parts["mix"] = model.mixes[task]
    return {
        "name": name,
        "weights": _sha256(parts),
        "tokenizer": embedder.tokenizer.fingerprint(),
        "max_length": embedder.tokenizer.max_length,
        "truncation": embedder.tokenizer.truncation,
        "prompt": embedder.tokenizer.prompt or None,
        "pooling": _pooling_name(pooling),
        "task": task if model.encoder.adapts_per_task else None,
        "normalize": embedder.normalize,
        "truncate_dim": embedder.truncate_dim,
    }


def check_origin(where: str, stored: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Raise an error if the queries' embedder is not the one that computed the index.

    Args:
        where: Name of the index for the error message.
        stored: Origin of the index.
        current: Origin of the queries.

    Raises:
        DataError: The origins differ in something other than the name.
    """
    differing = [key for key in current if key != "name" and stored.get(key) != current[key]]
    if differing:
        raise DataError(
            f"{where}: built with {_describe(stored, differing)}; it cannot be searched with "
            f"{_describe(current, differing)}: use the model and settings of the index"
        )


def _describe(origin: Mapping[str, Any], differing: list[str]) -> str:
    """Return the name of a model and the values of some settings, for a message."""
    values = (f"{key} {_short(origin.get(key))}" for key in differing)
    return f"{origin.get('name')} ({', '.join(values)})"


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else json.dumps(value)


def _pooling_name(pooling: nn.Module) -> str:
    if isinstance(pooling, SentenceModules):
        return f"{'+'.join(pooling.modes)} {json.dumps(pooling.settings)}"
    if not isinstance(pooling, FunctionPooling):
        return type(pooling).__name__
    function = pooling.function
    if not isinstance(function, partial):
        return getattr(function, "__name__", repr(function))
    settings = "".join(f" {key}={value}" for key, value in sorted(function.keywords.items()))
    return f"{function.func.__name__}{settings}"


def _sha256(parts: Mapping[str, nn.Module]) -> str:
    digest = hashlib.sha256()
    for part, module in parts.items():
        for key, tensor in sorted(module.state_dict().items()):
            digest.update(f"{part}.{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
