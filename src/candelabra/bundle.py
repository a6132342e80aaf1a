"""A trained model as a folder. Loads without Lightning or Hydra, and executes nothing of it.

    import candelabra
    model = candelabra.load("outputs/quickstart/RUN/bundle")
    model.predict("what 1995 romantic comedy starred michael douglas")

The folder: `config.json` (tasks, pooling, settings: names and numbers), `labels.json`,
`metrics.json`, `heads.safetensors`, and `encoder/`, which transformers opens by itself.
"""

from __future__ import annotations

import functools
import importlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from candelabra import __version__
from candelabra.config import check_targets
from candelabra.data.collate import EncodedSplit
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import BundleError, UserError
from candelabra.files import write_json
from candelabra.model.encoder import Pretrained
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.pooling import FunctionPooling
from candelabra.records import Examples

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1
FILES = ("config.json", "labels.json", "heads.safetensors", "encoder/config.json")
WORD = re.compile(r"\w+|[^\w\s]")
"""How a typed text is cut into words for tagging: punctuation stands alone."""


@dataclass
class Bundle:
    """A trained model and what it needs to be used.

    Attributes:
        model: Encoder and heads.
        tokenizer: Text -> token ids.
        config: Pooling and tasks as plain values.
        labels: The label names of each task.
        metrics: Scores of the run that made it.
    """

    model: MultiTaskModel
    tokenizer: TextTokenizer
    config: dict[str, Any]
    labels: dict[str, list[str]]
    metrics: dict[str, float]

    def save(self, folder: Path) -> None:
        """Writes the folder; `load` gives the same outputs."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.encoder.backbone.save_pretrained(folder / "encoder")
        self.tokenizer.tokenizer.save_pretrained(folder / "encoder")
        rest = {
            name: tensor.contiguous()
            for name, tensor in self.model.state_dict().items()
            if not name.startswith("encoder.")
        }
        save_file(rest, folder / "heads.safetensors")
        write_json(folder / "labels.json", self.labels)
        write_json(folder / "metrics.json", self.metrics)
        settings = {
            "max_length": self.tokenizer.max_length,
            "truncation": self.tokenizer.truncation,
        }
        about = {"format": FORMAT, "candelabra": __version__}
        write_json(folder / "config.json", {**about, **settings, **self.config})

    def predict(
        self,
        texts: str | Sequence[str],
        *,
        batch_size: int = 64,
        precision: str = "32-true",
    ) -> list[dict[str, Any]]:
        """Every task's answer for each text, from one pass of the encoder.

        Args:
            texts: A text, or several.
            batch_size: Texts in a pass; neighbours in length share one.
            precision: `32-true`, or `bf16-mixed` where the hardware has it.

        Returns:
            One dict for each text: `text`, and each task's answer. Classification: `label`,
            `score`, `probabilities`. Tagging: spans with `text`, `type`, `score`, `start`, `end`
            (characters).
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        answers: list[dict[str, Any]] = [{"text": text} for text in texts]
        if not texts:
            return answers
        words = [[match.span() for match in WORD.finditer(text)] for text in texts]
        examples = Examples((texts,), [[] for _ in texts], words, list(range(len(texts))))
        split = EncodedSplit(examples, (self.tokenizer(texts, words),), self.tokenizer.pad_id)
        order = np.argsort(-split.lengths, kind="stable")
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size].tolist()
            for task, found in self._answers(split, rows, precision).items():
                for row, answer in zip(rows, found, strict=True):
                    answers[row][task] = answer
        return answers

    @torch.inference_mode()
    def _answers(
        self, split: EncodedSplit, rows: list[int], precision: str
    ) -> Mapping[str, list[Any]]:
        device = next(self.model.parameters()).device
        batch = split.batch(rows, num_units=1).to(device)
        half = torch.autocast(device.type, torch.bfloat16) if "bf16" in precision else nullcontext()
        with half:
            logits = self.model.serve(batch.texts[0], batch.first_BW)
        examples = split.examples.take(rows)
        return {
            task: self.model.head(task).describe(logits[task], batch.first_BW, examples)
            for task in self.model.heads
        }


def load(folder: str | Path, *, allow: Sequence[str] = (), device: str = "cpu") -> Bundle:
    """Opens a bundle, or the bundle of a run folder.

    Args:
        folder: The bundle.
        allow: Names beyond candelabra's own that the bundle may build heads and poolings from.
        device: Where the model goes.

    Raises:
        BundleError: A file is missing, damaged, or points out of the folder; or the bundle asks
            for code that is not candelabra's own and not allowed.
    """
    root = _checked(Path(folder))
    config, labels = _json(root / "config.json"), _json(root / "labels.json")
    if config.get("format") != FORMAT:
        found = config.get("format")
        raise BundleError(f"{root / 'config.json'}: format must be {FORMAT}, found {found!r}")
    try:
        check_targets(config, allow=allow)
        backbone = Pretrained(
            name=str(root / "encoder"),
            max_length=config["max_length"],
            truncation=config["truncation"],
        )
        tokenizer, encoder = backbone.tokenizer(), backbone.load()
        model = MultiTaskModel(
            encoder,
            {
                name: make(task["head"], allow)(width=encoder.width, labels=labels[name])
                for name, task in config["tasks"].items()
            },
            pooling=_pooling(config["pooling"], allow, encoder.width),
            poolings={
                name: _pooling(task["pooling"], allow, encoder.width)
                for name, task in config["tasks"].items()
                if task.get("pooling") is not None
            },
        )
        _load_weights(model, root / "heads.safetensors")
    except KeyError as error:
        raise BundleError(f"{root}: config.json or labels.json lacks {error}") from error
    except UserError as error:
        raise BundleError(f"{root}: {error}") from error
    metrics = _json(root / "metrics.json") if (root / "metrics.json").is_file() else {}
    return Bundle(model.to(device).eval(), tokenizer, config, labels, metrics)


def make(node: Mapping[str, Any], allow: Sequence[str]) -> functools.partial[Any]:
    """What a stored node names, with its settings; only trusted or allowed names."""
    check_targets(node, allow=allow)
    path, _, name = str(node["_target_"]).rpartition(".")
    try:
        target = getattr(importlib.import_module(path), name)
    except (ImportError, AttributeError) as error:
        raise BundleError(f"_target_ {node['_target_']!r} cannot be found: {error}") from error
    return functools.partial(target, **{k: v for k, v in node.items() if not k.startswith("_")})


def _pooling(node: Mapping[str, Any], allow: Sequence[str], width: int) -> nn.Module:
    found = make(node, allow)
    return found(width=width) if isinstance(found.func, type) else FunctionPooling(found)


def _load_weights(model: MultiTaskModel, file: Path) -> None:
    try:
        missing, unexpected = model.load_state_dict(load_file(file), strict=False)
    except (SafetensorError, RuntimeError) as error:
        raise BundleError(f"{file}: damaged or of other shapes ({error})") from error
    missing = [name for name in missing if not name.startswith("encoder.")]
    if missing or unexpected:
        raise BundleError(f"{file}: lacks {missing}, and has beyond need {unexpected}")


def _checked(folder: Path) -> Path:
    """The bundle's folder, after a look at its files."""
    if not (folder / "config.json").is_file() and (folder / "bundle").is_dir():
        folder = folder / "bundle"
    if not folder.is_dir():
        raise BundleError(f"bundle={folder}: no such folder")
    for name in FILES:
        if not (folder / name).is_file():
            raise BundleError(f"bundle={folder}: no bundle, it has no file {name}")
    root = folder.resolve()
    for path in _links(folder):
        if not path.resolve().is_relative_to(root):
            raise BundleError(f"{path}: a link out of the bundle")
    return folder


def _links(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_symlink())


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{file}: no JSON ({error})") from error
    if not isinstance(found, dict):
        raise BundleError(f"{file}: must hold a JSON object, found {type(found).__name__}")
    return found
