"""Evaluation on tasks of the Massive Text Embedding Benchmark with the `mteb` package.

Muennighoff et al. 2023, "MTEB: Massive Text Embedding Benchmark". Needs the extra `mteb`.

Shapes: N texts, M other texts, D embedding width.
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

LOCAL = {
    "STSBenchmark": ("stsb", ("test",), ("sentence1", "sentence2", "score")),
    "Banking77Classification": ("banking77", ("train", "test"), ("text", "label")),
}
"""Tasks that can be read from local files: folder in `data_dir`, splits and columns."""


@dataclass(frozen=True)
class MtebEncoder:
    """Adapter of an `Embedder` to the interface `mteb.EncoderProtocol`.

    Attributes:
        embedder: The embedder.
        mteb_model_meta: Description of the model, required by mteb.
        batch_size: Number of texts per forward pass.
        precision: `32-true`, or `bf16-mixed` on hardware that supports it.
        on_batch: Progress callback. It receives the number of embedded texts and of all texts.
    """

    embedder: Embedder
    mteb_model_meta: Any
    batch_size: int = 64
    precision: str = "32-true"
    on_batch: Callable[[int, int], object] = lambda done, total: None

    def encode(self, inputs: Iterable[Mapping[str, Any]], **_: Any) -> np.ndarray:
        """Compute the embeddings (N, D) of all texts in the batches, ignoring task instructions."""
        texts = [text for batch in inputs for text in batch["text"]]
        vectors_ND = np.empty((len(texts), self.embedder.width), dtype=np.float32)
        done = 0
        for part in self.embedder.chunks(
            texts, batch_size=self.batch_size, precision=self.precision
        ):
            vectors_ND[done : done + len(part)] = part
            done += len(part)
            self.on_batch(done, len(texts))
        return vectors_ND

    def similarity(self, left_ND: Any, right_MD: Any) -> Tensor:
        """Compute the cosines of all pairs of rows, (N, M)."""
        left, right = (normalize(torch.as_tensor(each).float()) for each in (left_ND, right_MD))
        return left @ right.T

    def similarity_pairwise(self, left_ND: Any, right_ND: Any) -> Tensor:
        """Compute the cosines of corresponding rows, (N)."""
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
    """Compute the main score of each task.

    The score of a task with several splits or languages is the mean over them, as in mteb. mteb's
    cache of earlier results is not used.

    Args:
        embedder: The embedder to evaluate.
        names: Names of tasks, such as `Banking77Classification`.
        data_dir: Folder with the data of the tasks in `LOCAL`. Other tasks are loaded from the
            Hub; all are if it is `None`.
        batch_size: Number of texts per forward pass.
        precision: `32-true`, or `bf16-mixed` on hardware that supports it.

    Returns:
        Scores by the key `mteb/<task>/<score>`.

    Raises:
        ConfigError: mteb is not installed, or a name is not that of a text task.
        DataError: The data of a task are missing, or the Hub is not reachable.
    """
    tasks = checked_tasks(names, data_dir)

    from mteb.models.model_meta import ModelMeta

    from candelabra.tables import Progress

    about = ModelMeta.create_empty({"name": "candelabra/embedder", "revision": "unknown"})
    scores = {}
    for task in tasks:
        with Progress(task.metadata.name) as progress:
            _load(task, data_dir)
            encoder = MtebEncoder(embedder, about, batch_size, precision, progress.update)
            scores[f"mteb/{task.metadata.name}/{task.metadata.main_score}"] = _score(encoder, task)
            task.unload_data()
    return scores


def _score(encoder: MtebEncoder, task: AbsTask) -> float:
    import mteb

    with warnings.catch_warnings():
        # mteb also logs this. Older versions of tasks are needed to compare with published scores.
        warnings.filterwarnings("ignore", ".*is superseded by")
        result = mteb.evaluate(
            encoder, task, cache=None, co2_tracker=False, show_progress_bar=False
        )
    return float(result.task_results[0].get_score())


def checked_tasks(names: Sequence[str], data_dir: str | None = None) -> list[AbsTask]:
    """Return the mteb tasks by name, without loading their data.

    Raises:
        ConfigError: mteb is not installed, a name is repeated, or it is not that of a text task.
        DataError: A file is missing in `data_dir`.
    """
    if importlib.util.find_spec("mteb") is None:
        raise ConfigError("mteb needs the package of that name: pip install candelabra[mteb]")
    for name in names:
        if list(names).count(name) > 1:
            raise ConfigError(f"mteb: task {name!r} is listed twice")
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
    """Return the local file of each split of a task."""
    folder, splits, _ = LOCAL[name]
    files = {split: Path(data_dir).expanduser() / folder / f"{split}.parquet" for split in splits}
    for file in files.values():
        if not file.is_file():
            raise DataError(f"mteb task {name}: data_dir={data_dir} has no file {file}")
    return files


def _load(task: AbsTask, data_dir: str | None) -> None:
    """Load the data of a task. An aggregate task reads the data of its subtasks."""
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
