from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from mteb import AbsTask, EncoderProtocol
from torch import Tensor

from candelabra.embedding.embedder import Embedder
from candelabra.errors import ConfigError, DataError
from candelabra.evaluation import mteb_tasks
from candelabra.evaluation.mteb_tasks import MtebEncoder, checked_tasks, mteb_scores
from candelabra.evaluation.probe import few_shot_accuracy_of_texts
from candelabra.metrics.similarity import SimilarityMetrics
from helpers.bundles import made
from helpers.given_vectors import scores

WORDS = ["what film", "a dull card", "my money", "who starred", "the plot", "pay back"]
TEXTS = [f"{WORDS[i % 6]} {WORDS[i % 5]} {WORDS[i % 4]} {i % 7}" for i in range(90)]
LABELS = [i % 6 // 2 for i in range(90)]
STSB = {
    "sentence1": TEXTS[:40],
    "sentence2": TEXTS[40:80],
    "score": [i % 11 / 2 for i in range(40)],
}


def write(folder: Path, name: str, columns: dict[str, Any]) -> None:
    file = folder / f"{name}.parquet"
    file.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), file)


@pytest.fixture
def data(tmp_path: Path) -> str:
    write(tmp_path, "stsb/test", {**STSB, "beside": list(range(40))})
    write(tmp_path, "banking77/train", {"text": TEXTS[:60], "label": LABELS[:60]})
    write(tmp_path, "banking77/test", {"text": TEXTS[60:], "label": LABELS[60:]})
    return str(tmp_path)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return made().embedder()


def vectors(embedder: Embedder, columns: dict[str, Any]) -> Tensor:
    pairs = [embedder.embed(columns[name]) for name in ("sentence1", "sentence2")]
    return torch.from_numpy(np.stack(pairs, 1))


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
# An untrained encoder need not predict every class.
@pytest.mark.filterwarnings("ignore:Precision is ill-defined")
def test_local_tasks_score_as_by_our_own_metrics(embedder: Embedder, data: str) -> None:
    found = mteb_scores(embedder, ["Banking77Classification", "STSBenchmark"], data)
    right = torch.tensor(STSB["score"])
    own = scores(SimilarityMetrics, vectors(embedder, STSB), right)["spearman"]
    probed = few_shot_accuracy_of_texts(
        embedder.embed, train=(TEXTS[:60], LABELS[:60]), test=(TEXTS[60:], LABELS[60:])
    )
    assert found == pytest.approx(
        {"mteb/Banking77Classification/accuracy": probed, "mteb/STSBenchmark/cosine_spearman": own}
    )
    assert 0.3 < probed < 1


def test_the_encoder_is_what_the_package_asks_for(embedder: Embedder) -> None:
    encoder = MtebEncoder(embedder, None, batch_size=3)
    assert isinstance(encoder, EncoderProtocol)
    batches = [{"text": TEXTS[:4]}, {"text": TEXTS[4:9]}]
    found = encoder.encode(batches, task_metadata=None, hf_split="test", hf_subset="default")
    np.testing.assert_allclose(found, embedder.embed(TEXTS[:9]), atol=1e-6)
    cosines = encoder.similarity(3 * found, torch.from_numpy(found))
    torch.testing.assert_close(cosines, torch.from_numpy(found @ found.T))
    torch.testing.assert_close(encoder.similarity_pairwise(found, found), cosines.diagonal())


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["STSBenchmrk"], "mteb has no task 'STSBenchmrk'; did you mean 'STSBenchmark"),
        (["STS12", "STS12"], "task 'STS12' is listed twice"),
        (["VisualSTS-b-Eng"], "'VisualSTS-b-Eng' is over image"),
    ],
)
def test_a_wrong_name_is_refused(names: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        checked_tasks(names)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mteb_tasks.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install candelabra\[mteb\]"):
        checked_tasks(["STS12"])


def test_a_missing_file_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"STSBenchmark: data_dir=.* has no file .*test.parquet"):
        checked_tasks(["STSBenchmark"], str(tmp_path))


def test_a_missing_column_is_named(embedder: Embedder, tmp_path: Path) -> None:
    write(tmp_path, "stsb/test", {"sentence1": ["a"], "score": [1.0]})
    with pytest.raises(DataError, match=r"test.parquet: lacks the column 'sentence2'"):
        mteb_scores(embedder, ["STSBenchmark"], str(tmp_path))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("no route"), "STSBenchmark: the Hub was not reachable.*data_dir=FOLDER"),
        (ValueError("broken"), "STSBenchmark: broken"),
    ],
)
def test_what_the_hub_does_not_give(
    error: Exception, said: str, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(AbsTask, "load_data", fail)
    with pytest.raises(DataError, match=said):
        mteb_scores(embedder, ["STSBenchmark"])
