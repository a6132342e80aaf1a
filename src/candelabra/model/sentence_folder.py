"""Settings of a folder saved by SentenceTransformer, read from its JSON without heavy imports.

`modules.json` lists the modules in order. Versions 2 to 5 of sentence-transformers name them
`sentence_transformers.models.Pooling`, version 6 by the module that defines them; the last part of
the name is the same. Before version 3 the encoder may lie in `0_Transformer`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from candelabra.errors import ConfigError

MODULES = "modules.json"
OWN = "sentence_transformers."
ENCODER_SETTINGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Flags of a pooling before version 6 -> names of version 6, in the order of concatenation."""
OPTIONS = {
    **{name: name for name in ("cls", "max", "mean")},
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weighted_mean",
    "lasttoken": "last_token",
}
"""Names of version 6 -> options of the group `pooling`."""
SENTENCE = "sentence_embedding"
ARGUMENTS = ("model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args")
"""Settings that change the loaded model or tokenizer in ways that are not known here."""
OFFSET_KINDS = ("roberta", "mpnet", "xlm-roberta", "camembert")
"""Model types that count positions from behind the padding id."""


@dataclass(frozen=True)
class Prompts:
    """Texts that are put before each text.

    Attributes:
        default: Prompt of every text; empty for none.
        others: Prompts that are used by name only.
    """

    default: str
    others: Mapping[str, str]


@dataclass(frozen=True)
class SentencePooling:
    """Modules behind the encoder.

    Attributes:
        modes: Names of the poolings, whose results are concatenated.
        layers: Settings of the modules between pooling and vector.
        folders: Folder of each of these modules.
        normalize: Whether the last module scales to unit length.
        include_prompt: Whether the tokens of a prompt are pooled.
    """

    modes: tuple[str, ...]
    layers: tuple[dict[str, Any], ...]
    folders: tuple[Path, ...]
    normalize: bool
    include_prompt: bool


def is_sentence_folder(name: str) -> bool:
    """Return whether a name is a folder that SentenceTransformer has saved."""
    return (Path(name) / MODULES).is_file()


def encoder_folder(folder: Path) -> Path:
    """Return where the encoder lies: the folder itself or one in it.

    Raises:
        ConfigError: If `modules.json` is damaged, or its first module is not a `Transformer`.
    """
    if not (folder / MODULES).is_file():
        return folder
    kind, place = _modules(folder)[0]
    if kind != "Transformer":
        raise _refused(folder, f"the module {kind} as its encoder")
    return place


def max_length(folder: Path) -> int | None:
    """Return `max_seq_length`, or `None` if the folder sets no limit.

    Version 6 writes it as the tokenizer's `model_max_length`. Without either, the positions of the
    encoder are the limit.

    Raises:
        ConfigError: If a file is damaged, or the limit is no whole number above 0.
    """
    place = encoder_folder(folder)
    limits = [_encoder_settings(place).get("max_seq_length")]
    if limits == [None]:
        limits = [_json(place / "tokenizer_config.json").get("model_max_length")]
        limits.append(room(_json(place / "config.json")))
    known = [limit for limit in limits if limit is not None]
    for limit in known:
        if type(limit) not in (int, float) or limit < 1:
            raise ConfigError(f"{place}: max_seq_length must be a number above 0, got {limit!r}")
    # Tokenizers without a limit store a huge number.
    shortest = min(known, default=None)
    return None if shortest is None or shortest > 10**9 else int(shortest)


def room(config: Mapping[str, Any]) -> int | None:
    """Return the most tokens that the positions of an encoder allow, or `None` for no limit."""
    positions = config.get("max_position_embeddings")
    if type(positions) is not int or positions < 1:
        return None
    offset = (config.get("pad_token_id") or 0) + 1
    return positions - offset if config.get("model_type") in OFFSET_KINDS else positions


def lower_cases(folder: Path) -> bool:
    """Return whether texts are converted to lower case before they are tokenized."""
    return bool(_encoder_settings(encoder_folder(folder)).get("do_lower_case"))


def prompts(folder: Path) -> Prompts:
    """Return the prompts of a folder.

    Raises:
        ConfigError: If the default prompt is not among them, or a prompt is not a text.
    """
    settings = _json(file := folder / "config_sentence_transformers.json")
    texts = settings.get("prompts") or {}
    name = settings.get("default_prompt_name")
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ConfigError(f"{file}: prompts must be an object of texts")
    if name is not None and name not in texts:
        raise ConfigError(f"{file}: default_prompt_name must name a prompt, got {name!r}")
    default = texts[name] if name is not None else ""
    return Prompts(default, {key: text for key, text in texts.items() if text not in ("", default)})


def sentence_pooling(folder: Path) -> SentencePooling:
    """Return the modules behind the encoder.

    Raises:
        ConfigError: If a file is damaged, or a module cannot be represented; it is named.
    """
    kind = _json(folder / "config_sentence_transformers.json").get("model_type")
    if kind not in (None, "SentenceTransformer"):
        raise _refused(folder, f"a {kind}")
    _check_encoder_settings(folder, _encoder_settings(encoder_folder(folder)))
    found = _modules(folder)
    if len(found) < 2 or found[1][0] != "Pooling":
        what = found[1][0] if len(found) > 1 else "nothing"
        raise _refused(folder, f"{what} in place of a Pooling behind the encoder")
    pooling = _json(found[1][1] / "config.json")
    layers = [(_layer(folder, name, place), place) for name, place in found[2:]]
    normalize = bool(layers) and layers[-1][0]["kind"] == "normalize"
    kept = layers[:-1] if normalize else layers
    return SentencePooling(
        _modes(found[1][1], pooling),
        tuple(settings for settings, _ in kept),
        tuple(place for _, place in kept),
        normalize,
        bool(pooling.get("include_prompt", True)),
    )


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """Return the class name and the folder of each module.

    Raises:
        ConfigError: If the list is damaged, or a module is code that is not part of
            sentence-transformers or lies outside of the folder.
    """
    file, found = folder / MODULES, []
    for row in _json(file, list):
        known = isinstance(row, dict) and {"path", "type"} <= row.keys()
        if not known or not all(isinstance(row[key], str) for key in ("path", "type")):
            raise ConfigError(f"{file}: each module must have a path and a type, got {row!r}")
        if not row["type"].startswith(OWN):
            raise _refused(folder, f"the module {row['type']}, which is code of its own")
        place = folder / row["path"]
        if not place.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(f"{file}: a module must lie in the folder, got {row['path']!r}")
        found.append((row["type"].rpartition(".")[2], place))
    if not found:
        raise ConfigError(f"{file}: must list modules, got an empty list")
    return found


def _encoder_settings(place: Path) -> dict[str, Any]:
    return next((_json(place / name) for name in ENCODER_SETTINGS if (place / name).is_file()), {})


def _check_encoder_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    for key in ARGUMENTS:
        if settings.get(key):
            raise _refused(folder, f"{key}={settings[key]}")
    task = settings.get("transformer_task", "feature-extraction")
    text = (settings.get("modality_config") or {}).get("text") or {}
    for given, kept in (
        (task, "feature-extraction"),
        (text.get("method", "forward"), "forward"),
        (text.get("method_output_name", "last_hidden_state"), "last_hidden_state"),
        (settings.get("module_output_name", "token_embeddings"), "token_embeddings"),
    ):
        if given != kept:
            raise _refused(folder, f"{given!r} in place of {kept!r} in the settings of its encoder")


def _modes(place: Path, settings: Mapping[str, Any]) -> tuple[str, ...]:
    if not settings:
        raise ConfigError(f"{place / 'config.json'}: missing or empty, so the pooling is unknown")
    given = settings.get("pooling_mode")
    if given is None:
        given = [mode for flag, mode in MODES.items() if settings.get(flag)] or ["mean"]
    modes = [given] if isinstance(given, str) else given
    if not isinstance(modes, list) or not modes or any(m not in MODES.values() for m in modes):
        known = ", ".join(MODES.values())
        raise ConfigError(f"{place}: pooling_mode must be one of {known}, got {given!r}")
    return tuple(modes)


def _layer(folder: Path, kind: str, place: Path) -> dict[str, Any]:
    if kind not in LAYERS:
        raise _refused(folder, f"the module {kind}")
    settings = _json(place / "config.json")
    for key in ("module_input_name", "module_output_name"):
        if settings.get(key) not in (None, SENTENCE):
            raise _refused(folder, f"the module {kind} with {key}={settings[key]!r}")
    return LAYERS[kind](place, settings)


def _dense(place: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    path = settings.get("activation_function", "torch.nn.modules.activation.Tanh")
    if not isinstance(path, str) or not path.startswith("torch.nn."):
        raise ConfigError(f"{place}: activation_function must be a class of torch.nn, got {path!r}")
    return {
        "kind": "dense",
        "out_features": _whole(place, settings, "out_features"),
        "bias": bool(settings.get("bias", True)),
        "activation": path.rpartition(".")[2],
        "residual": bool(settings.get("use_residual", False)),
    }


def _dropout(place: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    rate = settings.get("dropout", 0.2)
    if type(rate) not in (int, float) or not 0 <= rate < 1:
        raise ConfigError(f"{place}: dropout must be from 0 to below 1, got {rate!r}")
    return {"kind": "dropout", "rate": rate}


LAYERS: dict[str, Callable[[Path, Mapping[str, Any]], dict[str, Any]]] = {
    "Dense": _dense,
    "Dropout": _dropout,
    "LayerNorm": lambda place, settings: {"kind": "layer_norm"},
    "Normalize": lambda place, settings: {"kind": "normalize"},
}
"""Modules of sentence-transformers behind a pooling -> settings of our layer."""


def _whole(place: Path, settings: Mapping[str, Any], key: str) -> int:
    value = settings.get(key)
    if type(value) is not int or value < 1:
        raise ConfigError(f"{place}: {key} must be a whole number above 0, got {value!r}")
    return value


def _json(file: Path, kind: type = dict) -> Any:
    """Return a JSON file, or an empty object if there is no such file."""
    if not file.is_file():
        return kind()
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(value, kind):
        raise ConfigError(f"{file}: must hold a JSON {kind.__name__}, got {type(value).__name__}")
    return value


def _refused(folder: Path, what: str) -> ConfigError:
    kept: Sequence[str] = ("Transformer", "Pooling", *LAYERS)
    return ConfigError(
        f"{folder}: the folder has {what}, which cannot be kept ({', '.join(kept)} "
        "can); pooling=NAME takes its encoder alone"
    )
