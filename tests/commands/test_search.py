from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from candelabra.bundle.bundle import Bundle
from candelabra.bundle.folder import read_json
from candelabra.commands import search
from candelabra.search.index import load_index
from helpers.bundles import edit, made
from helpers.command_line import HEAVY_AFTER, Done, Run, called, python
from helpers.corpora import TEXTS


@pytest.fixture(autouse=True)
def _corpus(_elsewhere: None) -> None:
    pq.write_table(pa.table({"text": TEXTS, "title": TEXTS[::-1]}), "films.parquet")
    Path("films.txt").write_text("".join(f"{text}\n" for text in TEXTS))


def searched(*arguments: str) -> Done:
    return called("search", "encoder=tiny", *arguments)


def hits(*arguments: str) -> list[tuple[int, str]]:
    done = searched(*arguments, "format=json")
    assert (done.status, done.err) == (0, "")
    return [(hit["row"], hit["text"]) for hit in json.loads(done.out)["hits"]]


@pytest.mark.parametrize("file", ["films.txt", "films.parquet"])
def test_a_text_finds_itself_first(file: str) -> None:
    assert hits(f"corpus={file}", f"text={TEXTS[2]}", "top_k=1") == [(2, TEXTS[2])]


def test_the_table_is_for_people() -> None:
    long = "a film [bold]about[/bold] films\nand more " * 20
    Path("films.jsonl").write_text(json.dumps({"text": long}) + "\n" + '{"text": "cats"}\n')
    done = searched("corpus=films.jsonl", "text=what's new, pussy: cat?")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].strip() == "what's new, pussy: cat?"
    assert [word.strip() for word in lines[2].strip("┃").split("┃")] == ["score", "row", "text"]
    assert [line.split("│")[2].strip() for line in lines[4:6]] in (["0", "1"], ["1", "0"])
    assert max(map(len, lines)) <= 140
    assert "[bold]about[/bold] films and more" in done.out
    assert "…" in done.out


def test_another_column() -> None:
    found = hits("corpus=films.parquet", "column=title", f"text={TEXTS[0]}", "top_k=1")
    assert found == [(5, TEXTS[0])]


def test_scores_are_cosines_of_the_bundle(run: Run, bundle: Bundle) -> None:
    words = ["corpus=films.txt", "text=a film", "format=json", "precision=32-true"]
    done = called("search", f"bundle={run.bundle}", *words)
    assert (done.status, done.err) == (0, "")
    found = {hit["row"]: hit["score"] for hit in json.loads(done.out)["hits"]}
    right = bundle.embed(TEXTS) @ bundle.embed("a film")[0]
    assert len(found) == 5
    assert [right[row] for row in found] == pytest.approx(list(found.values()), abs=1e-5)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def lines(file: str) -> list[Any]:
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def test_queries_of_a_file() -> None:
    Path("queries.csv").write_text('question\ncats sleep\n"a dull film"\n')
    done = searched(
        "corpus=films.txt",
        "input=queries.csv",
        "query_column=question",
        "output=new folder/hits.jsonl",
        "top_k=2",
    )
    assert (done.status, done.err) == (0, "")
    assert done.out == "2 queries: new folder/hits.jsonl\n"
    found = lines("new folder/hits.jsonl")
    assert [answer["text"] for answer in found] == ["cats sleep", "a dull film"]
    assert [answer["hits"][0]["row"] for answer in found] == [5, 0]
    assert [len(answer["hits"]) for answer in found] == [2, 2]


@pytest.mark.parametrize("approximate", [False, True])
def test_an_index_answers_as_its_corpus(approximate: bool) -> None:
    settings = [f"approximate={str(approximate).lower()}", "normalize=true"]
    done = searched("corpus=films.txt", "save_index=kept", *settings)
    assert (done.status, done.err, done.out) == (0, "", "6 texts saved: kept\n")
    query = f"text={TEXTS[3]}"
    # Two rows have one text, and products of matrices round their scores differently.
    answers = hits("index=kept", query, *settings), hits("corpus=films.txt", query)
    assert [text for _, text in answers[0]] == [text for _, text in answers[1]]
    assert hits("index=kept", query, "top_k=1", "normalize=true") == [(3, TEXTS[3])]
    vectors = load_index(Path("kept")).vectors_ND
    assert vectors is not None
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, 1e-5)


def test_an_index_is_described_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert searched("corpus=films.txt", "save_index=kept").status == 0
    read: list[Path] = []

    def counted(file: Path) -> dict[str, Any]:
        read.append(file)
        return read_json(file)

    monkeypatch.setattr("candelabra.search.index.read_json", counted)
    assert searched("index=kept", "text=x").status == 0
    assert read == [Path("kept/index.json")]


def test_an_index_of_another_model_is_refused(run: Run) -> None:
    assert searched("corpus=films.txt", "save_index=kept").status == 0
    for other, said in (
        (["+encoder.seed=1"], "weights"),
        (["pooling=max"], "pooling"),
        (["truncate_dim=8"], "truncate_dim"),
    ):
        done = searched("index=kept", "text=x", *other)
        assert (done.status, done.out) == (2, "")
        assert "index=kept: built with encoder=tiny (" in done.message
        assert said in done.message
    done = called("search", f"bundle={run.bundle}", "index=kept", "text=x")
    assert f"cannot be searched with bundle={run.bundle} (" in done.message


@pytest.mark.parametrize(("backend", "name"), [("torch", "tiny"), ("onnx", "tiny backend=onnx")])
def test_an_index_names_the_backend_of_its_model(backend: str, name: str) -> None:
    cfg = OmegaConf.create({"backend": backend, "approximate": False})
    assert search._origin(cfg, "tiny", made().embedder())["name"] == name


def test_a_damaged_index_is_refused() -> None:
    assert searched("corpus=films.txt", "save_index=kept").status == 0
    content = Path("kept/vectors.safetensors").read_bytes()
    Path("kept/vectors.safetensors").write_bytes(content[:100])
    done = searched("index=kept", "text=x")
    assert (done.status, done.out) == (2, "")
    assert done.message.startswith("kept/vectors.safetensors: damaged")


REFUSED = {
    "nothing": ([], "either corpus=FILE or index=FOLDER"),
    "both": (["corpus=films.txt", "index=kept", "text=x"], "either corpus=FILE or index=FOLDER"),
    "no query": (["corpus=films.txt"], "(or save_index=FOLDER alone), got neither"),
    "two queries": (
        ["corpus=films.txt", "text=x", "input=films.txt", "output=y"],
        'either text="..." or input=FILE (or save_index=FOLDER alone), got text= and input=',
    ),
    "empty query": (["corpus=films.txt", "text= "], "text must not be empty"),
    "no output": (["corpus=films.txt", "input=films.txt"], "input=FILE and output=FILE go togeth"),
    "output of one": (["corpus=films.txt", "text=x", "output=y"], "go together"),
    "saved twice": (["index=kept", "save_index=more"], "is already saved"),
    "no index": (["index=nope", "text=x"], "index=nope: no such folder"),
    "other folder": (
        ["index=other", "text=x"],
        "index=other: not an index, it has no file",
    ),
    "folder in use": (["corpus=films.txt", "save_index=other"], "save_index=other: already exists"),
    "output is a folder": (
        ["corpus=films.txt", "input=films.txt", "output=other.jsonl"],
        "output=other.jsonl: is a folder",
    ),
    "standard input twice": (
        ["corpus=-", "input=-", "output=y.jsonl"],
        "cannot both be standard input",
    ),
    "top_k": (
        ["corpus=films.txt", "text=x", "top_k=0"],
        "top_k must be a whole number of at least",
    ),
    "format": (["corpus=films.txt", "text=x", "format=jsn"], "did you mean 'json'?"),
    "missing file": (["corpus=film.txt", "text=x"], "film.txt: missing file"),
    "column": (["corpus=films.parquet", "column=txt", "text=x"], "missing column 'txt'"),
    "lengths": (
        ["corpus=films.txt", "text=x", "approximate=true", "normalize=false"],
        "drop normalize=false",
    ),
    "task": (["corpus=films.txt", "text=x", "task=mood"], "it needs bundle=FOLDER"),
    "key": (["corpus=films.txt", "text=x", "topk=3"], "did you mean 'top_k'?"),
    "verbatim key": (["corpus=films.txt", "txt=x"], "no key 'txt'; did you mean 'text'?"),
    "how to re-rank alone": (
        ["corpus=films.txt", "text=x", "rerank_top_k=9"],
        "rerank_top_k=9: a setting of re-ranking, which needs rerank=BUNDLE",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_input_is_one_message(case: str) -> None:
    Path("other").mkdir()
    Path("other.jsonl").mkdir()
    Path("other/mine").write_text("mine")
    before = sorted(Path().rglob("*"))
    arguments, said = REFUSED[case]
    done = searched(*arguments)
    assert (done.status, done.out) == (2, "")
    assert said in done.message
    assert sorted(Path().rglob("*")) == before


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("candelabra.search.approximate.find_spec", lambda name: None)
    done = searched("corpus=films.txt", "text=x", "approximate=true")
    assert 'pip install "candelabra[index]"' in done.message


def test_bad_words_are_refused_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    done = python("-c", HEAVY_AFTER, "search", "index=nope", "text=x", folder=tmp_path)
    assert done.status == 2
    assert done.out.splitlines()[-1].split() == ["heavy:"]


def test_a_bundle_that_cannot_rerank_is_refused_as_early(run: Run, tmp_path: Path) -> None:
    words = ["search", "corpus=films.txt", "text=x", f"rerank={run.bundle}"]
    done = python("-c", HEAVY_AFTER, *words, folder=tmp_path)
    assert done.status == 2
    assert (
        done.message == f"rerank={run.bundle}: none of its tasks is a cross-encoder (cross: true)"
    )
    assert done.out.splitlines()[-1].split() == ["heavy:"]


@pytest.mark.parametrize(
    ("labels", "words", "said"),
    [
        ({}, ["rerank_task=moovie"], "task must be one of sentiment, movie, got 'moovie'; did you"),
        ({}, [], "several cross-encoders, sentiment, movie: name one"),
        ({}, ["rerank_task=movie"], "a re-ranker gives a number or one of two labels; movie has"),
        ({"sentiment": 5}, ["rerank_task=sentiment"], "labels of sentiment must be a list"),
    ],
)
def test_what_reranks_is_chosen_by_name(
    labels: dict[str, Any], words: list[str], said: str, run: Run, tmp_path: Path
) -> None:
    shutil.copytree(run.bundle, "cross")
    edit(
        Path("cross/config.json"),
        lambda stored: [t.update(cross=True) for t in stored["tasks"].values()],
    )
    edit(Path("cross/labels.json"), lambda stored: stored.update(labels))
    done = searched("corpus=films.txt", "text=x", "rerank=cross", *words)
    assert (done.status, done.out) == (2, "")
    assert said in done.message
