"""Save and load a trained model as a folder, without Lightning or Hydra, or running its code.

    import candelabra
    model = candelabra.load("outputs/quickstart/RUN/bundle")
    model.predict("what 1995 romantic comedy starred michael douglas")

The folder contains `config.json` (tasks, pooling and settings as names and numbers), `labels.json`,
`metrics.json`, `heads.safetensors`, and `encoder/`, which transformers can load by itself. It
contains `adapters.safetensors` if each task has its own adapter, and `checksums.json`, which
reveals damage.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from candelabra.bundle.checksums import CHECKSUMS, check_checksums, write_checksums
from candelabra.bundle.config import BundleConfig
from candelabra.bundle.folder import checked_folder, stored_config, stored_labels, stored_metrics
from candelabra.bundle.predict import answers, checked_texts
from candelabra.bundle.weights import check_encoder, check_sizes, load_adapters, load_weights
from candelabra.config.targets import check_targets
from candelabra.data.tokens import TextTokenizer
from candelabra.embedding.embedder import Embedder
from candelabra.errors import BundleError, naming, nearest
from candelabra.files import write_json
from candelabra.model.adapters import adapter_state, base_state, choose, merge
from candelabra.model.assembly import assemble
from candelabra.model.backbones import Pretrained
from candelabra.model.multitask import MultiTaskModel

ADAPTERS = "adapters.safetensors"
"""File of the adapters if each task has its own; `encoder/` then contains the shared weights."""


DAMAGES = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Errors that building a model from stored values may raise."""


@dataclass
class Bundle:
    """Trained model, with the tokenizer and labels that its use requires.

    Attributes:
        model: Encoder and heads.
        tokenizer: Tokenizer of the encoder.
        config: Pooling, tasks and the other settings that `config.json` stores.
        labels: Task name -> label names.
        metrics: Metrics of the run that trained the model, as in `metrics.json`.
    """

    model: MultiTaskModel
    tokenizer: TextTokenizer
    config: BundleConfig
    labels: dict[str, list[str]]
    metrics: dict[str, float]

    def __repr__(self) -> str:
        """Return one line, since those of the modules are hundreds."""
        kind = self.model.encoder.backbone.config.model_type
        return f"Bundle(tasks={list(self.labels)}, encoder={kind!r})"

    def save(self, folder: Path) -> None:
        """Write the folder, from which `load` restores the same outputs.

        The checksums are written last. A folder without them is incomplete.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CHECKSUMS).unlink(missing_ok=True)
        encoder = self.model.encoder
        encoder.backbone.save_pretrained(folder / "encoder", state_dict=base_state(encoder))
        if encoder.adapters:
            save_file(adapter_state(encoder), folder / ADAPTERS)
        self.tokenizer.tokenizer.save_pretrained(folder / "encoder")
        rest = {
            name: tensor.contiguous()
            for name, tensor in self.model.state_dict().items()
            if not name.startswith("encoder.")
        }
        save_file(rest, folder / "heads.safetensors")
        write_json(folder / "labels.json", self.labels)
        write_json(folder / "metrics.json", self.metrics)
        # The tokenizer may have been replaced since the bundle was loaded.
        tokenizer = self.tokenizer
        config = replace(
            self.config,
            max_length=tokenizer.max_length,
            truncation=tokenizer.truncation,
            prompt=tokenizer.prompt or None,
        )
        write_json(folder / "config.json", config.to_json())
        write_checksums(folder)

    def merged(self, task: str) -> Bundle:
        """Return a bundle of one task, with its own adapter merged into the encoder.

        Formats with a single encoder can represent such a bundle, but not one that has an encoder
        for each task. This bundle is not changed.

        Raises:
            ValueError: If there is no such task.
        """
        if task not in self.labels:
            raise ValueError(
                f"task must be one of {', '.join(self.labels)}, got {task!r}"
                + nearest(task, self.labels)
            )
        model = deepcopy(self.model)
        for owned in (model.heads, model.poolings, model.mixes):
            for other in owned.keys() - {task}:
                del owned[other]
        if model.encoder.adapters:
            choose(model.encoder, task)
            merge(model.encoder)
        config = replace(self.config, adapter=None, tasks={task: self.config.tasks[task]})
        # Keep `<split>/<task>/<metric>`; `val/score` and `epoch` belong to no task.
        own = {k: v for k, v in self.metrics.items() if k.partition("/")[2].startswith(f"{task}/")}
        return Bundle(model, self.tokenizer, config, {task: self.labels[task]}, own)

    def predict(
        self,
        texts: str | Iterable[str],
        *,
        batch_size: int = 64,
        precision: str = "32-true",
    ) -> list[dict[str, Any]]:
        """Return the predictions of all tasks for each text, from one pass of the encoder.

        Args:
            texts: One text or several.
            batch_size: Number of texts per forward pass; texts of similar length are batched.
            precision: `32-true`, or `bf16-mixed` if the hardware supports it.

        Returns:
            One dictionary for each text, with `text` and the prediction of each task. For
            classification this is `label`, `score` and `probabilities`. For tagging it is a list of
            spans with `text`, `type`, `score`, `start` and `end` (in characters).

        Raises:
            ConfigError: If no head takes a single text.
            TypeError: If `texts` is neither a text nor an iterable of texts.
        """
        return answers(
            self.model, self.tokenizer, texts, batch_size=batch_size, precision=precision
        )

    def embed(
        self,
        texts: str | Iterable[str],
        *,
        task: str | None = None,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
        batch_size: int = 64,
        precision: str = "32-true",
    ) -> np.ndarray:
        """Return the sentence embeddings of texts, of shape (N, D) in float32.

        Args:
            texts: One text or several.
            task: Task whose pooling and adapter are used; `None` uses the pooling of the run.
            normalize: Whether to scale the vectors to unit length; `None` uses the run's setting.
            truncate_dim: Number of leading dimensions to keep; `None` keeps all.
            batch_size: Number of texts per forward pass; texts of similar length are batched.
            precision: `32-true`, or `bf16-mixed` if the hardware supports it.

        Raises:
            TypeError: If `texts` is neither a text nor an iterable of texts.
            ValueError: If there is no such task, or no task is given and each has its own adapter.
        """
        embedder = self.embedder(task, normalize=normalize, truncate_dim=truncate_dim)
        return embedder.embed(checked_texts(texts), batch_size=batch_size, precision=precision)

    def embedder(
        self,
        task: str | None = None,
        *,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
    ) -> Embedder:
        """Return the embedder that `embed` uses.

        Args:
            task: As in `embed`.
            normalize: As in `embed`.
            truncate_dim: As in `embed`.
        """
        if normalize is None:
            normalize = self.config.normalize
        return Embedder(self.model, self.tokenizer, task, normalize, truncate_dim)


def load(folder: str | Path, *, allow: Sequence[str] = (), device: str = "cpu") -> Bundle:
    """Load a bundle, or the bundle in a run folder.

    Args:
        folder: Folder of the bundle or of the run.
        allow: Targets besides candelabra's own that the bundle may build heads and poolings from.
        device: Device of the model.

    Raises:
        BundleError: If a file is missing, damaged, or a link to another folder, or if the bundle
            names code that is neither candelabra's own nor allowed.
    """
    root = checked_folder(Path(folder))
    check_checksums(root)
    config, labels, metrics = stored_config(root), stored_labels(root), stored_metrics(root)
    try:
        check_targets(config.to_json(), allow=allow)
        backbone = Pretrained(
            name=str(root / "encoder"),
            max_length=config.max_length,
            truncation=config.truncation,
            local=True,
            prompt=config.prompt,
        )
        check_sizes(root / "encoder")
        with _silent_transformers():
            tokenizer, encoder = backbone.tokenizer(), backbone.load()
        check_encoder(encoder, root / "encoder" / "model.safetensors")
        model = assemble(
            encoder,
            pooling=config.pooling,
            tasks=config.tasks,
            labels=labels,
            make=functools.partial(make, allow=allow),
        )
        load_weights(model, root / "heads.safetensors")
        if config.adapter is not None:
            with naming("adapter", config.adapter):
                make(config.adapter, allow=allow)().attach(encoder, list(config.tasks))
            load_adapters(encoder, root / ADAPTERS)
    except BundleError:
        raise
    except DAMAGES as error:
        # Report values that no model can be built from like missing values.
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BundleError(f"{root}: {reason}") from error
    return Bundle(model.to(device).eval(), tokenizer, config, labels, metrics)


@contextmanager
def _silent_transformers() -> Iterator[None]:
    """Hide the progress bar, and the warning about the missing pooler, which is not used."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def make(node: Mapping[str, Any], *, allow: Sequence[str]) -> functools.partial[Any]:
    """Return the class or function that a stored node names, with its settings bound.

    Args:
        node: Stored node with `_target_` and settings.
        allow: Targets besides candelabra's own that are allowed.

    Raises:
        BundleError: If the target is not allowed or does not exist.
    """
    check_targets(node, allow=allow)
    path, _, name = str(node["_target_"]).rpartition(".")
    try:
        target = getattr(importlib.import_module(path), name)
    except (ImportError, AttributeError) as error:
        raise BundleError(f"_target_ {node['_target_']!r} cannot be found: {error}") from error
    return functools.partial(target, **{k: v for k, v in node.items() if not k.startswith("_")})
