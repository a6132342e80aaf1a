from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from candelabra.bundle.bundle import Bundle
from helpers.command_line import HEAVY_AFTER, Done, Run, called, python

TEXTS = ["a dull film", "it's a film, isn't it: yes?", "caf\u00e9 \u6620\u753b", "a dull film"]
TINY = ["encoder=tiny"]


def embedded(*arguments: str) -> Done:
    return called("embed", *TINY, *arguments)


def lines(done: Done) -> list[dict[str, object]]:
    assert done.status == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return path


@pytest.mark.parametrize("text", [*TEXTS, "1995", "null", "[1, 2]", "a=b", "${x}"])
def test_a_text_is_taken_verbatim(text: str) -> None:
    (found,) = lines(embedded(f"text={text}"))
    assert found["text"] == text
    assert np.linalg.norm(found["embedding"]) == pytest.approx(1, abs=1e-6)


def test_every_format_holds_the_same_vectors(file: Path, tmp_path: Path) -> None:
    right = np.array([row["embedding"] for row in lines(embedded(f"input={file}"))], np.float32)
    for suffix in ("npy", "parquet", "jsonl"):
        target = tmp_path / f"new/vectors.{suffix}"
        done = embedded(f"input={file}", f"output={target}")
        assert (done.status, done.out) == (0, f"4 vectors of 32: {target}\n")
        if suffix == "npy":
            found = np.load(target)
        elif suffix == "parquet":
            table = pq.read_table(target)
            assert table["text"].to_pylist() == TEXTS
            found = np.array(table["embedding"].to_pylist(), np.float32)
        else:
            rows = [json.loads(line) for line in target.read_text().splitlines()]
            assert [row["text"] for row in rows] == TEXTS
            found = np.array([row["embedding"] for row in rows], np.float32)
        np.testing.assert_array_equal(found, right)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = io.TextIOWrapper(io.BytesIO("\n".join(TEXTS).encode() + b"\n\n"))
    monkeypatch.setattr(sys, "stdin", typed)
    assert [row["text"] for row in lines(embedded("input=-"))] == TEXTS
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    assert embedded("input=-").message == "standard input: empty: it has no rows"


@pytest.mark.slow
def test_several_processes_give_the_same(file: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.npy", tmp_path / "two.npy"
    assert embedded(f"input={file}", f"output={one}").status == 0
    assert embedded(f"input={file}", f"output={two}", "processes=2").status == 0
    np.testing.assert_allclose(np.load(two), np.load(one), atol=1e-6)


def test_a_bundle_embeds_as_in_python(run: Run, bundle: Bundle, file: Path) -> None:
    words = ["normalize=false", "precision=32-true"]
    found = lines(called("embed", f"bundle={run.bundle}", f"input={file}", *words))
    vectors = np.array([row["embedding"] for row in found])
    np.testing.assert_allclose(vectors, bundle.embed(TEXTS, normalize=False), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], 'embed needs either text="..." or input=FILE, got neither'),
        (["text=a", "input=b.txt"], "got text= and input="),
        (["text= "], "text must not be empty"),
        (["text=caf\udce9"], "text must be UTF-8"),
        (["text=a", "text=b"], "text= is given twice: 'a' and 'b'; give one"),
        (["text=a", "accelerator=tpu"], "accelerator must be one of auto, cpu"),
        (["text=a", "output=a.pt"], "output=a.pt: must end in one of .npy, .parquet, .jsonl"),
        (["input=a.jsonl", "output=./a.jsonl"], "output=./a.jsonl is input= too"),
        (["input=no.txt"], "no.txt: missing file"),
        (["text=a", "task=mood"], "task chooses a task of a bundle: it needs bundle=FOLDER"),
        (["text=a", "bundle=no"], "bundle=no: no such folder"),
        (["text=a", "batch_size=0"], "batch_size must be a whole number of at least 1, got 0"),
        (["text=a", "processes=0"], "processes must be a whole number of at least 1, got 0"),
        (["text=a", "precision=16"], "precision must be one of 32-true, bf16-mixed, auto"),
        (["text=a", "truncate_dim=33"], "encoder: truncate_dim must be from 1 to 32, got 33"),
        (["text=a", "poolin=max"], "poolin"),
    ],
)
def test_wrong_input(arguments: list[str], said: str) -> None:
    done = embedded(*arguments)
    assert done.status == 2
    assert said in done.message


def test_a_bundle_brings_its_own_encoder(run: Run) -> None:
    done = called("embed", f"bundle={run.bundle}", "text=a", "encoder=minilm")
    assert done.message.startswith("encoder=minilm: a bundle contains its own encoder")
    done = called("embed", f"bundle={run.bundle}", "text=a", "task=sentimen")
    assert "got 'sentimen'; did you mean 'sentiment'?" in done.message


def test_an_old_file_outlives_a_failure(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "vectors.npy"
    target.write_text("old")
    assert embedded(f"input={file}", f"output={target}", "truncate_dim=99").status == 2
    assert target.read_text() == "old"


def test_a_wrong_word_is_answered_before_anything_heavy_is_imported() -> None:
    done = python("-c", HEAVY_AFTER, "embed", "text=a", "output=vectors.pt")
    assert (done.status, done.out) == (2, "heavy:\n")


def test_onnxruntime_gives_the_vectors_of_torch(file: Path, tmp_path: Path) -> None:
    cache = f"cache_dir={tmp_path}/cache"
    vectors = [
        [row["embedding"] for row in lines(embedded(f"input={file}", *words))]
        for words in (["precision=32-true"], ["backend=onnx", cache])
    ]
    np.testing.assert_allclose(*np.array(vectors, np.float32), atol=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["backend=onx"], "backend must be one of torch, onnx, onnx_int8"),
        (["accelerator=gpu"], "backend=onnx: accelerator must be one of auto, cpu"),
        (["precision=bf16-mixed"], "backend=onnx: precision must be one of auto, 32-true"),
        (["cache_dir=null"], "cache_dir"),
    ],
)
def test_a_wrong_setting_of_the_backend_is_one_message(words: list[str], message: str) -> None:
    done = embedded("text=x", "backend=onnx", *words)
    assert done.status == 2
    assert message in done.message


def test_a_graph_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = embedded("text=x", "backend=onnx", f"cache_dir={tmp_path}/file")
    assert done.status == 2
    assert f"candelabra: error: cache_dir={tmp_path}/file: Not a directory" in done.err
