from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file

from candelabra.errors import UserError
from candelabra.files import checksum
from candelabra.model.sentence_modules import SentenceModules
from candelabra.search import index
from candelabra.search.approximate import build_graph, write_graph
from candelabra.search.exact import Corpus
from candelabra.search.index import check_new, load_index, read_about, save_index
from candelabra.search.origin import check_origin, origin_of
from helpers.bundles import adapt, edit, made
from helpers.corpora import numbered, unit
from helpers.ended import ended_process
from helpers.full_disks import full_disk

ORIGIN = {"name": "ours"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    corpus = numbered(20)
    graph = build_graph(corpus.vectors_ND)
    kept = tmp_path / "index"
    save_index(kept, Corpus(corpus.texts, corpus.vectors_ND, graph), origin=ORIGIN, source="x.txt")
    return kept


def resigned(folder: Path, **settings: object) -> None:
    """With checksums that fit, as whoever means harm would write them."""
    sums = {file.name: checksum(file) for file in folder.iterdir() if file.name != "index.json"}
    edit(folder / "index.json", lambda about: about.update({"sha256": sums, **settings}))


def test_round_trip(folder: Path) -> None:
    found, right = load_index(folder, approximate=True), numbered(20)
    assert list(found.texts) == list(right.texts)
    assert right.vectors_ND is not None
    assert found.graph is not None
    np.testing.assert_array_equal(found.graph.reconstruct_n(0, 20), right.vectors_ND)
    exact = load_index(folder)
    np.testing.assert_array_equal(exact.vectors_ND, right.vectors_ND)
    assert exact.graph is None
    assert read_about(folder)["origin"] == ORIGIN


def test_an_index_that_appears_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, write = tmp_path / "index", index._write_texts

    def other_process(*given: Any) -> None:
        write(*given)
        place.mkdir()
        (place / "theirs").touch()

    monkeypatch.setattr(index, "_write_texts", other_process)
    with pytest.raises(UserError, match="already exists"):
        save_index(place, numbered(3), origin=ORIGIN, source="x")
    assert [path.name for path in tmp_path.rglob("*")] == ["index", "theirs"]


def test_a_graph_has_the_vectors_so_that_their_file_is_not_read(folder: Path) -> None:
    wrong_vectors(folder, unit(3))
    found = load_index(folder, approximate=True)
    assert found.vectors_ND is None
    with pytest.raises(UserError, match=r"vectors\.safetensors: damaged"):
        load_index(folder)
    with pytest.raises(ValueError, match="loaded from a graph has no vectors to save"):
        save_index(folder.with_name("again"), found, origin=ORIGIN, source="x")
    assert [file.name for file in folder.parent.iterdir()] == ["index"]


def test_a_corpus_has_something_to_search_by() -> None:
    with pytest.raises(ValueError, match="needs vectors or a graph"):
        Corpus(["a"], None)


def test_texts_are_kept_as_they_are(tmp_path: Path) -> None:
    texts = ["it's, a: \u6620\u753b", "two\nlines", "  spaces  "]
    save_index(tmp_path / "index", Corpus(texts, unit(3)), origin=ORIGIN, source="x")
    assert list(load_index(tmp_path / "index").texts) == texts


def test_an_old_index_is_never_touched(folder: Path) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(UserError, match="already exists"):
        save_index(folder, numbered(3), origin=ORIGIN, source="x")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_place_that_cannot_hold_it_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    check_new(tmp_path / "new" / "index")
    with pytest.raises(UserError, match="cannot be written: "):
        check_new(tmp_path / "file" / "index")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Path, texts: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("candelabra.search.index._write_texts", full)
    with pytest.raises(UserError, match=r"index: cannot be written: No space left"):
        save_index(tmp_path / "index", numbered(3), origin=ORIGIN, source="x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_texts", [1, 300])
def test_a_graph_is_written_whole_or_not_at_all(num_texts: int, tmp_path: Path) -> None:
    """faiss itself says nothing of a small one that finds no room."""
    graph = build_graph(unit(num_texts))
    with full_disk(100), pytest.raises(OSError, match="File too large"):
        write_graph(tmp_path / "graph.faiss", graph)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_finds_no_room_leaves_nothing(tmp_path: Path) -> None:
    corpus = numbered(20)
    save_index(tmp_path / "flat", corpus, origin=ORIGIN, source="x")
    room = max(file.stat().st_size for file in (tmp_path / "flat").iterdir())
    whole = Corpus(corpus.texts, corpus.vectors_ND, build_graph(corpus.vectors_ND))
    with (
        full_disk(room + 100),
        pytest.raises(UserError, match=r"index: cannot be written: File too large"),
    ):
        save_index(tmp_path / "index", whole, origin=ORIGIN, source="x")
    assert [file.name for file in tmp_path.iterdir()] == ["flat"]


@pytest.mark.parametrize(
    "name", ["index.json", "vectors.safetensors", "texts.parquet", "graph.faiss"]
)
@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_damage_is_named(name: str, damage: str, folder: Path) -> None:
    file = folder / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    with pytest.raises(UserError, match=name):
        load_index(folder, approximate=name == "graph.faiss")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("texts", "20"),
        ("texts", 10**12),
        ("texts", 19),
        ("width", -1),
        ("width", True),
        ("origin", []),
        ("sha256", None),
    ],
)
def test_a_wrong_value_is_refused(key: str, value: object, folder: Path) -> None:
    edit(folder / "index.json", lambda about: about.update({key: value}))
    with pytest.raises(UserError, match=str(folder)):
        load_index(folder, approximate=True)


def wrong_vectors(folder: Path, vectors: np.ndarray, *, key: str = "vectors") -> None:
    save_file({key: vectors}, folder / "vectors.safetensors")


FORGED = {
    "other width": lambda folder: wrong_vectors(folder, unit(20, 8)),
    "other count": lambda folder: wrong_vectors(folder, unit(19)),
    "other type": lambda folder: wrong_vectors(folder, unit(20).astype(np.float64)),
    "other name": lambda folder: wrong_vectors(folder, unit(20), key="x"),
    "not finite": lambda folder: wrong_vectors(folder, unit(20) * np.inf),
    "pickle": lambda folder: torch.save(torch.zeros(20, 16), folder / "vectors.safetensors"),
    "numbers": lambda folder: pq.write_table(
        pa.table({"text": list(range(20))}), folder / "texts.parquet"
    ),
    "other column": lambda folder: pq.write_table(
        pa.table({"x": ["x"] * 20}), folder / "texts.parquet"
    ),
    "no parquet": lambda folder: (folder / "texts.parquet").write_bytes(b"x"),
    "flat graph": lambda folder: faiss.write_index(
        faiss.IndexFlatIP(16), str(folder / "graph.faiss")
    ),
    "graph of others": lambda folder: faiss.write_index(
        build_graph(unit(19)), str(folder / "graph.faiss")
    ),
    "graph of lengths": lambda folder: faiss.write_index(
        faiss.IndexHNSWFlat(16, 8), str(folder / "graph.faiss")
    ),
    "no graph": lambda folder: (folder / "graph.faiss").write_bytes(b"x" * 100),
    "half a graph": lambda folder: (folder / "graph.faiss").write_bytes(
        (folder / "graph.faiss").read_bytes()[:500]
    ),
}


@pytest.mark.parametrize("case", FORGED)
def test_files_that_do_not_fit_are_refused(case: str, folder: Path) -> None:
    """Even with checksums that fit."""
    FORGED[case](folder)
    resigned(folder)
    with pytest.raises(UserError, match=str(folder)):
        load_index(folder, approximate="graph" in case)


def test_an_index_without_graph_says_so(tmp_path: Path) -> None:
    save_index(tmp_path / "index", numbered(3), origin=ORIGIN, source="x")
    assert json.loads((tmp_path / "index" / "index.json").read_text())["texts"] == 3
    with pytest.raises(UserError, match="has no graph; leave out approximate=true"):
        load_index(tmp_path / "index", approximate=True)


def test_a_link_is_no_file_of_an_index(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "away").write_bytes((folder / "texts.parquet").read_bytes())
    (folder / "texts.parquet").unlink()
    (folder / "texts.parquet").symlink_to(tmp_path / "away")
    with pytest.raises(UserError, match=r"no file texts\.parquet"):
        read_about(folder)


def test_the_same_model_has_the_same_origin() -> None:
    first, again = made().embedder(), made().embedder()
    check_origin("index=x", origin_of(first, "a"), origin_of(again, "elsewhere"))


def changed(what: str) -> dict[str, object]:
    """The origin of an embedder that differs in one thing."""
    bundle = made(pooling="max" if what == "pooling" else "mean")
    embedder = bundle.embedder(
        normalize=what != "normalize", truncate_dim=4 if what == "truncate_dim" else None
    )
    if what == "weights":
        next(bundle.model.encoder.parameters()).data += 1e-6
    if what == "tokenizer":
        tokenizer = made(truncation="tail").tokenizer
        embedder = replace(embedder, tokenizer=tokenizer)
    return origin_of(embedder, "theirs")


@pytest.mark.parametrize("what", ["weights", "pooling", "tokenizer", "normalize", "truncate_dim"])
def test_another_model_is_refused_and_both_are_named(what: str) -> None:
    theirs = changed(what)
    with pytest.raises(
        UserError, match=rf"index=x: built with ours \({what} .*with theirs \({what} "
    ):
        check_origin("index=x", origin_of(made().embedder(), "ours"), theirs)


def test_another_pooling_of_sentence_modules_is_refused() -> None:
    def origin(**settings: Any) -> dict[str, object]:
        embedder = made().embedder()
        embedder.model.pooling = SentenceModules(16, **settings)
        return origin_of(embedder, "ours")

    for one, other in (
        ({"modes": ["mean", "max"]}, {"modes": ["cls", "max"]}),
        ({"layers": [{"kind": "normalize"}]}, {}),
    ):
        check_origin("index=x", origin(**one), origin(**one))
        with pytest.raises(UserError, match=r"index=x: built with ours \(pooling "):
            check_origin("index=x", origin(**one), origin(**other))


def test_the_setting_of_another_tokenizer_is_named() -> None:
    with pytest.raises(UserError, match=r"truncation head\).*searched with.*truncation tail\)"):
        check_origin("index=x", origin_of(made().embedder(), "ours"), changed("tokenizer"))


def test_a_task_counts_where_it_has_an_adapter_or_a_pooling_of_its_own() -> None:
    bundle = made(own_pooling="max")
    same = [origin_of(bundle.embedder(task), "x") for task in (None, "who")]
    assert same[0] == same[1] != origin_of(bundle.embedder("mood"), "x")
    adapt(bundle.model.encoder, per_task=True)
    own = [origin_of(bundle.embedder(task), "x")["task"] for task in ("mood", "who")]
    assert own == ["mood", "who"]


def test_what_a_killed_command_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / f".new.{ended_process()}.tmp"
    left.mkdir()
    (left / "vectors.safetensors").write_bytes(b"half")
    save_index(tmp_path / "new", numbered(3), origin=ORIGIN, source="it.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
