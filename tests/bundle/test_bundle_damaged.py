"""A bundle that lacks a part, or whose parts do not fit, is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from candelabra.bundle.bundle import load
from candelabra.bundle.checksums import write_checksums
from candelabra.errors import BundleError
from helpers.bundles import edit


def truncate(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return spoil


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", lambda found: found.update(changes))


def lacking(key: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", lambda found: found.pop(key))


def labels(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "labels.json", lambda found: found.update(changes))


def metrics(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "metrics.json", lambda found: found.update(values))


def other_tensors(file: str, rename: Callable[[str], str]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / file)
        renamed = {rename(name): tensor for name, tensor in tensors.items()}
        save_file(renamed, folder / file, metadata={"format": "pt"})

    return spoil


def encoder(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "encoder/config.json", lambda found: found.update(changes))


Tensors = dict[str, torch.Tensor]
WORDS = "encoder.backbone.embeddings.word_embeddings.weight"


def changed(file: str, change: Callable[[Tensors], Tensors]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        save_file(change(load_file(folder / file)), folder / file, metadata={"format": "pt"})

    return spoil


def spoilt(file: str, value: str) -> Callable[[Path], None]:
    def spoil(tensors: Tensors) -> Tensors:
        tensors[max(tensors)].view(-1)[-1] = float(value)
        return tensors

    return changed(file, spoil)


DAMAGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated heads": (truncate("heads.safetensors"), r"heads\.safetensors: damaged"),
    "truncated encoder": (truncate("encoder/model.safetensors"), "cannot be loaded as safetensors"),
    "truncated config": (truncate("config.json"), r"config\.json: not JSON"),
    "truncated labels": (truncate("labels.json"), r"labels\.json: not JSON"),
    "truncated metrics": (truncate("metrics.json"), r"metrics\.json: not JSON"),
    "truncated encoder config": (
        truncate("encoder/config.json"),
        r"encoder/config\.json: not JSON",
    ),
    "truncated tokenizer": (truncate("encoder/tokenizer.json"), r"encoder"),
    "no config": (without("config.json"), r"it has no file config\.json"),
    "no labels": (without("labels.json"), r"it has no file labels\.json"),
    "no heads": (without("heads.safetensors"), r"it has no file heads\.safetensors"),
    "no encoder": (without("encoder/config.json"), r"it has no file encoder/config\.json"),
    "no weights": (without("encoder/model.safetensors"), r"it has no file encoder/model"),
    "no tokenizer": (without("encoder/tokenizer.json"), r"it has no file encoder/tokenizer"),
    "later format": (config(format=2), r"config\.json: format must be 1, got 2"),
    "no format": (lacking("format"), r"format must be 1, got None"),
    "no pooling": (lacking("pooling"), r"lacks 'pooling'"),
    "no tasks": (lacking("tasks"), r"lacks 'tasks'"),
    "no max_length": (lacking("max_length"), r"lacks 'max_length'"),
    "tasks of another type": (config(tasks=["mood"]), r"tasks must be an object of tasks"),
    "task of another type": (config(tasks={"mood": 5}), r"tasks\.mood must be an object, found 5"),
    "head of another type": (
        config(tasks={"mood": {"head": 5}}),
        r"tasks\.mood\.head must be an object with _target_, found 5",
    ),
    "length of another type": (config(max_length="abc"), r"max_length must be a whole number"),
    "length beyond the positions": (config(max_length=9999), r"must be at most 512"),
    "truncation": (config(truncation="middle"), r"truncation must be one of"),
    "fewer labels": (
        labels(mood=["POSITIVE"]),
        r"heads\.safetensors: damaged, or of another model",
    ),
    "labels of another type": (labels(mood="ab"), r"labels of mood must be a list of names"),
    "numbers for labels": (labels(mood=[0, 1]), r"labels of mood must be a list of names"),
    "no O": (labels(who=["A", "B-Actor", "I-Actor", "B-Year"]), r"needs the label 'O'"),
    "other heads": (
        other_tensors("heads.safetensors", lambda name: name.replace("mood", "food")),
        r"heads\.safetensors: lacks \['heads\.mood",
    ),
    "other encoder": (
        other_tensors("encoder/model.safetensors", lambda name: name.replace("layer.1", "layer.7")),
        r"must have all weights of BertModel; missing: encoder\.layer\.1\.",
    ),
    "list": (lambda folder: (folder / "labels.json").write_text("[]") and None, r"JSON object"),
    "nested metrics": (
        metrics(test={"mood": 0.5}),
        r"metrics\.json: 'test' must be a number, found \{'mood': 0\.5\}",
    ),
    "a text among metrics": (metrics(epoch="1"), r"metrics\.json: 'epoch' must be .* found '1'"),
    "a truth among metrics": (metrics(done=True), r"metrics\.json: 'done' must be .* found True"),
    "a list of metrics": (
        lambda folder: (folder / "metrics.json").write_text("[1]") and None,
        r"metrics\.json: must hold a JSON object, found list",
    ),
    "nested beyond measure": (
        lambda folder: (folder / "labels.json").write_text("[" * 200_000) and None,
        r"labels\.json: not JSON",
    ),
    "nested too deep": (
        lambda folder: (
            (folder / "labels.json").write_text('{"a":' * 300 + "1" + "}" * 300) and None
        ),
        r"labels\.json: nested deeper than 64 levels",
    ),
    "number of 5,000 digits": (
        lambda folder: (
            (folder / "config.json").write_text('{"format": ' + "1" * 5000 + "}") and None
        ),
        r"config\.json: not JSON",
    ),
    "repeated labels": (labels(mood=["A", "A"]), r"labels of mood must differ, found 'A' twice"),
    "labels of no task": (
        labels(food=["A"]),
        r"the tasks and those of labels\.json differ: \['food",
    ),
    "format of another type": (config(format=True), r"format must be 1, got True"),
    "a truth for the length": (config(max_length=True), r"max_length must be a whole number"),
    "a negative length": (config(max_length=-5), r"must leave room for a token, got -5"),
    "normalize of another type": (config(normalize="no"), r"normalize must be true or false"),
    "pooling of another type": (config(pooling=[]), r"pooling must be an object with _target_"),
    "adapter of another type": (config(adapter=None), r"adapter must be an object with _target_"),
    "a list for truncation": (config(truncation=["head"]), r"truncation must be a text"),
    "fewer layers than weights": (
        encoder(num_hidden_layers=1),
        r"model\.safetensors: has unknown \['encoder\.layer\.1\..* and 11 more",
    ),
    "more layers than weights": (
        encoder(num_hidden_layers=3),
        r"must have all weights of BertModel; missing: encoder\.layer\.2\.",
    ),
    "another width": (encoder(hidden_size=32), r"is \[.*16\] in the file, and \[.*32\] by config"),
    "layers beyond measure": (
        encoder(num_hidden_layers=10**9),
        r"config\.json: num_hidden_layers must be at most \d+, which the weights allow, got 1000",
    ),
    "a width beyond measure": (encoder(hidden_size=10**9), r"hidden_size must be at most 30522"),
    "positions beyond measure": (
        encoder(max_position_embeddings=10**9),
        r"max_position_embeddings must be at most 100000",
    ),
    "a task without labels": (labels(mood=[]), r"labels must name one label or more, found none"),
    "a padding id beyond measure": (encoder(pad_token_id=10**30), r"Padding_idx must be within"),
    "a text for the width": (encoder(hidden_size="16"), r"encoder|bundle: "),
    "no width": (encoder(hidden_size=0), r"hidden_size must be 1 or more, got 0"),
    "no width inside": (encoder(intermediate_size=0), r"intermediate_size must be 1 or more"),
    "a negative number of layers": (encoder(num_hidden_layers=-1), r"encoder|bundle: "),
    "an unknown activation": (encoder(hidden_act="os.system"), r"bundle: "),
    "no dict for the config": (encoder(id2label=5), r"bundle: "),
    "surplus in the heads": (
        changed("heads.safetensors", lambda t: {**t, "more": torch.ones(2)}),
        r"heads\.safetensors: has unknown \['more'\]",
    ),
    "encoder's weights in the heads": (
        changed("heads.safetensors", lambda t: {**t, WORDS: torch.zeros(30522, 16)}),
        r"heads\.safetensors: has unknown \['encoder\.backbone\.embeddings",
    ),
    "surplus in the encoder": (
        changed("encoder/model.safetensors", lambda t: {**t, "more": torch.ones(2)}),
        r"model\.safetensors: has unknown \['more'\]",
    ),
    "other shapes in the encoder": (
        changed("encoder/model.safetensors", lambda t: {k: v[:1].clone() for k, v in t.items()}),
        r"vocab_size must be at most 32, which the weights allow, got 30522",
    ),
    "whole numbers for weights": (
        changed("heads.safetensors", lambda t: {k: v.int() for k, v in t.items()}),
        r"heads\.safetensors: .* is torch\.int32, not torch\.float32",
    ),
    "NaN in the pooling": (
        spoilt("heads.safetensors", "nan"),
        r"heads\.safetensors: damaged: pooling\.query contains NaN or infinity",
    ),
    "NaN in the encoder": (
        spoilt("encoder/model.safetensors", "nan"),
        r"model\.safetensors: damaged: .* contains NaN or infinity",
    ),
    "infinity in the encoder": (
        spoilt("encoder/model.safetensors", "-inf"),
        r"model\.safetensors: damaged: .* contains NaN or infinity",
    ),
    "bytes": (
        lambda folder: (folder / "labels.json").write_bytes(b"\xff\xfe\x00") and None,
        r"labels\.json: not JSON",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_bundle_is_refused(case: str, copy: Path) -> None:
    spoil, message = DAMAGED[case]
    spoil(copy)
    write_checksums(copy)
    with pytest.raises(BundleError, match=message) as caught:
        load(copy)
    assert str(copy) in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nope: no such folder"):
        load(tmp_path / "nope")
