"""A trained model as a folder. Loads without Lightning or Hydra, and executes nothing of it.

    import candelabra
    model = candelabra.load("outputs/quickstart/RUN/bundle")
    model.predict("what 1995 romantic comedy starred michael douglas")

The folder: `config.json` (tasks, pooling, settings: names and numbers), `labels.json`,
`metrics.json`, `heads.safetensors`, and `encoder/`, which transformers opens by itself; where
each task has its own, `adapters.safetensors`; and `checksums.json`, by which damage is noticed.
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
from candelabra.errors import BundleError, nearest
from candelabra.files import write_json
from candelabra.model.adapters import adapter_state, base_state, choose, merge
from candelabra.model.assembly import assemble
from candelabra.model.backbones import Pretrained
from candelabra.model.multitask import MultiTaskModel

ADAPTERS = "adapters.safetensors"
"""Where each task has its own adapter; the encoder's folder then holds what they share."""


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
"""What building from stored values may raise."""


@dataclass
class Bundle:
    """A trained model and what it needs to be used.

    Attributes:
        model: Encoder and heads.
        tokenizer: Text -> token ids.
        config: Pooling and tasks as plain values (`bundle.config`).
        labels: The label names of each task.
        metrics: Scores of the run that made it.
    """

    model: MultiTaskModel
    tokenizer: TextTokenizer
    config: BundleConfig
    labels: dict[str, list[str]]
    metrics: dict[str, float]

    def save(self, folder: Path) -> None:
        """Writes the folder; `load` gives the same outputs.

        The checksums come last: without them a folder is no whole bundle.
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
        """A bundle of one task; an adapter of its own is merged into its encoder.

        Formats that know one encoder can hold such a bundle, but none with an encoder for each
        task. This one stays as it is.

        Raises:
            ValueError: There is no such task.
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
        # Of `<split>/<task>/<metric>`; `val/score` and `epoch` are no task's.
        own = {k: v for k, v in self.metrics.items() if k.partition("/")[2].startswith(f"{task}/")}
        return Bundle(model, self.tokenizer, config, {task: self.labels[task]}, own)

    def predict(
        self,
        texts: str | Iterable[str],
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

        Raises:
            TypeError: `texts` is neither a text nor several.
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
        """The sentence embeddings of texts, (N, D) in float32.

        Args:
            texts: A text, or several.
            task: Whose pooling and adapter are used; None: the run's pooling.
            normalize: Vectors get unit length; None: as the run was told to.
            truncate_dim: Keeps the first dimensions only.
            batch_size: Texts in a pass; neighbours in length share one.
            precision: `32-true`, or `bf16-mixed` where the hardware has it.

        Raises:
            TypeError: `texts` is neither a text nor several.
            ValueError: There is no such task, or each task has an adapter and none is named.
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
        """What `embed` uses; the arguments are the same."""
        if normalize is None:
            normalize = self.config.normalize
        return Embedder(self.model, self.tokenizer, task, normalize, truncate_dim)


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
            make(config.adapter, allow=allow)().attach(encoder, list(config.tasks))
            load_adapters(encoder, root / ADAPTERS)
    except BundleError:
        raise
    except DAMAGES as error:
        # Values that nothing can be built from are as bad as missing ones.
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BundleError(f"{root}: {said}") from error
    return Bundle(model.to(device).eval(), tokenizer, config, labels, metrics)


@contextmanager
def _silent_transformers() -> Iterator[None]:
    """Without the progress bar, and the report that the pooler, which is not used, is missing."""
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
    """What a stored node names, with its settings; only trusted or allowed names."""
    check_targets(node, allow=allow)
    path, _, name = str(node["_target_"]).rpartition(".")
    try:
        target = getattr(importlib.import_module(path), name)
    except (ImportError, AttributeError) as error:
        raise BundleError(f"_target_ {node['_target_']!r} cannot be found: {error}") from error
    return functools.partial(target, **{k: v for k, v in node.items() if not k.startswith("_")})
