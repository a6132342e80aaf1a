"""Sources: what they read, and what they refuse before any work."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import httpx

from candelabra.data.sources import SPLITS, Files, FilesOrHub, Hub, Sample
from candelabra.errors import ConfigError, DataError

ROWS = {"text": ["dull", "fine"], "label": [0, 1]}
HUB = {"path": "someone/reviews"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [json.dumps({"text": t, "label": n}) for t, n in zip(*ROWS.values(), strict=True)]
    (tmp_path / "reviews").mkdir()
    for split in ("train", "test"):
        (tmp_path / "reviews" / f"{split}.jsonl").write_text("\n".join(lines))
    return tmp_path


def files(suffix: str = ".jsonl") -> dict[str, str]:
    return {split: f"reviews/{split}{suffix}" for split in ("train", "test")}


@pytest.mark.parametrize("name", ["reviews", "questions"])
def test_sample_has_all_splits(name: str) -> None:
    source = Sample(name)
    source.check()
    for split in SPLITS:
        table = source.read(split)
        assert table is not None
        assert len(table) > 0
        assert table.where == f"sample {name} ({split})"
    assert source.read("other") is None


@pytest.mark.parametrize("folder", [None, "data"])
@pytest.mark.parametrize("name", ["https://a.example/x.csv", "s3://a/x.csv?download=true"])
def test_an_address_is_no_path(name: str, folder: str | None) -> None:
    """A path would lose one of its slashes, and the message blame a missing folder."""
    with pytest.raises(DataError, match=rf"^{re.escape(name)}: is an address; download the file"):
        Files(train=name, folder=folder).check()


def test_a_mapping_is_no_list_of_paths() -> None:
    with pytest.raises(ConfigError, match=r"train must be a path or a list of paths, got {'pos'"):
        Files(train={"pos": "x.csv"}).check()  # type: ignore[arg-type]


def test_unknown_sample() -> None:
    with pytest.raises(DataError, match=r"'review': no such sample.*did you mean 'reviews'"):
        Sample("review").check()


def test_files_below_a_folder(folder: Path) -> None:
    source = Files(**files(), folder=str(folder))
    source.check()
    table = source.read("test")
    assert table is not None
    assert table.columns == ROWS
    assert table.where == str(folder / "reviews" / "test.jsonl")
    assert source.read("validation") is None
    assert source.read("folder") is None


def test_files_in_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Files(train="reviews/train.jsonl")
    with pytest.raises(DataError, match=r"missing file .train.: no folder was given.*data_dir="):
        source.check()
    monkeypatch.chdir(folder)
    source.check()
    assert source.read("train") is not None


@pytest.mark.parametrize("data_dir", [None, "."])
def test_absolute_paths_have_no_folder(data_dir: str | None, folder: Path) -> None:
    absent = str(folder / "absent.jsonl")
    for source in (
        Files(train=absent, folder=data_dir),
        FilesOrHub(files={"train": absent}, hub=HUB, data_dir=data_dir or str(folder)),
    ):
        with pytest.raises(DataError, match=rf"^{absent}: missing file") as caught:
            source.check()
        assert "data_dir" not in str(caught.value)


def test_files_take_the_layout(tmp_path: Path) -> None:
    (tmp_path / "x.bio").write_text("O\twho\n")
    table = Files(train="x.bio", folder=str(tmp_path), tag_first=True).read("train")
    assert table is not None
    assert table.columns == {"tokens": [["who"]], "tags": [["O"]]}


def test_files_check_names_what_is_missing_or_unsupported(folder: Path) -> None:
    with pytest.raises(DataError, match=r"dev\.jsonl: missing file"):
        Files(**files(), validation="reviews/dev.jsonl", folder=str(folder)).check()
    (folder / "x.txt").write_text("a")
    with pytest.raises(DataError, match=r"unsupported extension '\.txt'"):
        Files(train="x.txt", folder=str(folder)).check()


def test_data_dir_takes_files_instead_of_the_hub(folder: Path) -> None:
    source = FilesOrHub(files=files(), hub=HUB, data_dir=str(folder))
    source.check()
    table = source.read("train")
    assert table is not None
    assert table.columns == ROWS
    assert source.read("validation") is None


def test_data_dir_without_the_file_names_file_and_folder(folder: Path) -> None:
    source = FilesOrHub(files=files(".parquet"), hub=HUB, data_dir=str(folder))
    message = rf"data_dir={folder}: missing file 'reviews/train\.parquet' \(train\)"
    with pytest.raises(DataError, match=message):
        source.check()
    with pytest.raises(DataError, match=message):
        source.read("train")
    with pytest.raises(DataError, match="data_dir=/no/such: no such folder"):
        FilesOrHub(files=files(), hub=HUB, data_dir="/no/such").check()


def test_split_names_are_ours(folder: Path) -> None:
    wrong = {**files(), "dev": "reviews/test.jsonl"}
    with pytest.raises(DataError, match="files: 'dev' is none of train, validation, test"):
        FilesOrHub(files=wrong, hub=HUB, data_dir=str(folder)).check()
    with pytest.raises(DataError, match="'dev' is none of"):
        Hub("someone/reviews", splits={"train": "train", "dev": "dev"}).check()
    with pytest.raises(DataError, match="no train split, only test"):
        Hub("someone/reviews", splits={"test": "test"}).check()


def calls_of(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def load_dataset(**arguments: Any) -> datasets.Dataset:
        calls.append(arguments)
        return datasets.Dataset.from_dict(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def test_hub_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of(monkeypatch)
    source = Hub("someone/reviews", revision="abc", splits={"train": "train", "validation": "dev"})
    table = source.read("validation")
    assert table is not None
    assert table.columns == ROWS
    assert table.where == "Hub data set someone/reviews (validation)"
    assert source.read("test") is None
    assert calls == [{"path": "someone/reviews", "name": None, "revision": "abc", "split": "dev"}]


def test_hub_data_files(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of(monkeypatch)
    files = {"train": "dataset/train.json", "validation": "dataset/valid.json"}
    source = FilesOrHub(files={}, hub={**HUB, "revision": "abc", "data_files": files})
    source.check()
    assert source.read("validation") is not None
    assert source.read("test") is None
    url = "hf://datasets/someone/reviews@abc/dataset/valid.json"
    assert calls == [{"path": "json", "data_files": {"validation": url}, "split": "validation"}]


def test_hub_data_files_without_revision() -> None:
    arguments = Hub("someone/reviews", data_files={"train": "a.parquet"}).arguments("train")
    assert arguments["data_files"] == {"train": "hf://datasets/someone/reviews/a.parquet"}
    assert arguments["path"] == "parquet"


def test_hub_data_files_of_unknown_format() -> None:
    with pytest.raises(DataError, match=r"'a\.zip' must end in one of \.json"):
        Hub("someone/reviews", data_files={"train": "a.zip"}).check()


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("Couldn't reach the Hub"),
        OfflineModeIsEnabled("offline mode is enabled"),
        httpx.ConnectError("Name or service not known"),
        httpx.ReadTimeout("timed out"),
        TimeoutError("timed out"),
    ],
)
def test_unreachable_hub(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(
        DataError, match=r"'someone/reviews': the Hub was not reachable .*data_dir=FOLDER"
    ):
        Hub("someone/reviews").read("train")


@pytest.mark.parametrize(
    "error",
    [
        datasets.exceptions.DatasetNotFoundError("Dataset 'someone/reviews' doesn't exist"),
        ValueError("Unknown split"),
        RuntimeError("Dataset scripts are no longer supported"),
        datasets.exceptions.DatasetGenerationError("cannot be generated"),
    ],
)
def test_hub_data_set_that_cannot_be_loaded(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match=f"'someone/reviews' .train.: {error}"):
        Hub("someone/reviews").read("train")


def test_sources_import_nothing_heavy() -> None:
    code = (
        "import sys, candelabra.data.loading; from candelabra.data.sources import Hub, Sample;"
        "Hub('someone/reviews').check(); Sample('reviews').check();"
        "heavy = {'torch', 'transformers', 'datasets', 'pyarrow', 'numpy', 'sklearn'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
