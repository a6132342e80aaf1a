"""Tasks of the Massive Text Embedding Benchmark by name, through the `mteb` package.

Muennighoff et al. 2023, "MTEB: Massive Text Embedding Benchmark". Needs the extra `mteb`.

Shapes: N texts, M other texts, D width of an embedding.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from candelabra.embedding.embedder import Embedder
from candelabra.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from datasets import DatasetDict
    from mteb import AbsTask
    from rich.progress import TaskID

LOCAL = {
    "STSBenchmark": ("stsb", ("test",), ("sentence1", "sentence2", "score")),
    "Banking77Classification": ("banking77", ("train", "test"), ("text", "label")),
}
"""Tasks that can be read from files: the folder below `data_dir`, its splits, their columns."""


@dataclass(frozen=True)
class MtebEncoder:
    """An `Embedder` as the package wants it (`mteb.EncoderProtocol`).

    Attributes:
        embedder: What embeds.
        mteb_model_meta: The package's description of the model.
        batch_size: Texts in a pass.
        precision: `32-true`, or `bf16-mixed` where the hardware has it.
        told: Called with how many of how many texts of a data set are embedded.
    """

    embedder: Embedder
    mteb_model_meta: Any
    batch_size: int = 64
    precision: str = "32-true"
    told: Callable[[int, int], object] = lambda done, total: None

    def encode(self, inputs: Iterable[Mapping[str, Any]], **_: Any) -> np.ndarray:
        """The vectors of all texts of the batches, (N, D); a task's instruction is not used."""
        texts = [text for batch in inputs for text in batch["text"]]
        vectors_ND = np.empty((len(texts), self.embedder.width), dtype=np.float32)
        done = 0
        for part in self.embedder.chunks(
            texts, batch_size=self.batch_size, precision=self.precision
        ):
            vectors_ND[done : done + len(part)] = part
            done += len(part)
            self.told(done, len(texts))
        return vectors_ND

    def similarity(self, left_ND: Any, right_MD: Any) -> Tensor:
        """All cosines, (N, M)."""
        left, right = (normalize(torch.as_tensor(each).float()) for each in (left_ND, right_MD))
        return left @ right.T

    def similarity_pairwise(self, left_ND: Any, right_ND: Any) -> Tensor:
        """The cosines of vectors with each other's partner, (N)."""
        left, right = (torch.as_tensor(each).float() for each in (left_ND, right_ND))
        return cosine_similarity(left, right, dim=1)


def mteb_scores(
    embedder: Embedder,
    names: Sequence[str],
    data_dir: str | None = None,
    *,
    batch_size: int = 64,
    precision: str = "32-true",
) -> dict[str, float]:
    """Each task's main score, as `mteb/<task>/<score>`.

    A task of several splits or languages scores the mean over them, as the package has it.
    Results that the package has kept of earlier evaluations are not used.

    Args:
        embedder: What is evaluated.
        names: Names of tasks, such as `Banking77Classification`.
        data_dir: Folder in which tasks of `LOCAL` are; others, and all where it is None, come
            from the Hub.
        batch_size: Texts in a pass.
        precision: `32-true`, or `bf16-mixed` where the hardware has it.

    Raises:
        ConfigError: The extra is missing, or there is no such task over texts.
        DataError: A task's data is missing, or the Hub is not reachable.
    """
    tasks = checked_tasks(names, data_dir)

    from mteb.models.model_meta import ModelMeta
    from rich.console import Console
    from rich.progress import Progress

    about = ModelMeta.create_empty({"name": "candelabra/embedder", "revision": "unknown"})
    console = Console(stderr=True)
    scores = {}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for task in tasks:
            bar = progress.add_task(task.metadata.name, total=None)

            def told(done: int, total: int, bar: TaskID = bar) -> None:
                progress.update(bar, completed=done, total=total)

            _load(task, data_dir)
            encoder = MtebEncoder(embedder, about, batch_size, precision, told)
            scores[f"mteb/{task.metadata.name}/{task.metadata.main_score}"] = _score(encoder, task)
            task.unload_data()
    return scores


def _score(encoder: MtebEncoder, task: AbsTask) -> float:
    import mteb

    with warnings.catch_warnings():
        # The log says it too: published figures are often of the older version of a task.
        warnings.filterwarnings("ignore", ".*is superseded by")
        result = mteb.evaluate(
            encoder, task, cache=None, co2_tracker=False, show_progress_bar=False
        )
    return float(result.task_results[0].get_score())


def checked_tasks(names: Sequence[str], data_dir: str | None = None) -> list[AbsTask]:
    """The package's tasks of these names, without their data.

    Raises:
        ConfigError: The extra is missing, a name is there twice, or of no task over texts.
        DataError: `data_dir` lacks a file.
    """
    if importlib.util.find_spec("mteb") is None:
        raise ConfigError("mteb needs the package of that name: pip install candelabra[mteb]")
    for name in names:
        if list(names).count(name) > 1:
            raise ConfigError(f"mteb: task {name!r} is there twice")
        if data_dir is not None and name in LOCAL:
            _files(name, data_dir)
    return [_task(name) for name in names]


def _task(name: str) -> AbsTask:
    import mteb

    try:
        task = mteb.get_task(name)
    except KeyError as error:
        known = [other.metadata.name for other in mteb.get_tasks(modalities=["text"])]
        raise ConfigError(f"mteb has no task {name!r}{nearest(name, known)}") from error
    if task.metadata.modalities != ["text"]:
        kinds = ", ".join(task.metadata.modalities)
        raise ConfigError(f"mteb: task {name!r} is over {kinds}, and not over texts alone")
    return task


def _files(name: str, data_dir: str) -> dict[str, Path]:
    """The local file of each split that a task needs."""
    folder, splits, _ = LOCAL[name]
    files = {split: Path(data_dir).expanduser() / folder / f"{split}.parquet" for split in splits}
    for file in files.values():
        if not file.is_file():
            raise DataError(f"mteb task {name}: data_dir={data_dir} has no file {file}")
    return files


def _load(task: AbsTask, data_dir: str | None) -> None:
    """Gives a task its data; a task made of others gives them theirs itself."""
    name = task.metadata.name
    if data_dir is not None and name in LOCAL:
        task.dataset = _local(name, data_dir)
        task.data_loaded = True
        return
    for part in getattr(task.metadata, "tasks", [task]):
        _load_from_hub(part)


def _local(name: str, data_dir: str) -> DatasetDict:
    import pyarrow.parquet as pq
    from datasets import Dataset, DatasetDict

    columns = list(LOCAL[name][2])
    splits = {}
    for split, file in _files(name, data_dir).items():
        table = pq.read_table(file)
        missing = [column for column in columns if column not in table.column_names]
        if missing:
            raise DataError(f"{file}: lacks the column {missing[0]!r} of mteb task {name}")
        splits[split] = Dataset(table.select(columns))
    return DatasetDict(splits)


def _load_from_hub(task: AbsTask) -> None:
    from datasets.exceptions import DatasetsError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    name = task.metadata.name
    try:
        task.load_data()
    except (ConnectionError, TimeoutError, httpx.TransportError) as error:
        where = f"; data_dir=FOLDER reads {', '.join(LOCAL)} from files" if name in LOCAL else ""
        raise DataError(f"mteb task {name}: the Hub was not reachable ({error}){where}") from error
    except (OSError, ValueError, RuntimeError, httpx.HTTPError, DatasetsError) as error:
        raise DataError(f"mteb task {name}: {error}") from error
