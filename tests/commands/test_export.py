from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from candelabra.bundle.bundle import Bundle
from candelabra.bundle.checksums import write_checksums
from candelabra.bundle.folder import read_json
from candelabra.commands.arguments import compose_command
from candelabra.exporting.formats import MARK
from candelabra.model.heads.embedding import EmbeddingHead
from helpers.command_line import Run, called
from helpers.ended import ended_process
from helpers.exporting import QUICK, card_of, exported
from helpers.exports import bundle_of
from helpers.full_disks import full_disk
from helpers.small_models import WIDTH


def test_a_sentence_transformer(run: Run, tmp_path: Path) -> None:
    done = exported(run, QUICK)
    assert done.status == 0
    assert done.out.rstrip() == "exported: out"
    assert "note: The heads of the tasks (sentiment, movie) are left out." in done.err
    metadata, body = card_of(tmp_path / "out")
    assert metadata["library_name"] == "sentence-transformers"
    assert 'SentenceTransformer("out")' in body
    own = run.json("metrics.json")
    (result, other) = metadata["model-index"][0]["results"]
    assert result["metrics"] == [
        {"type": "accuracy", "value": round(own["test/sentiment/accuracy"], 4)}
    ]
    assert other["metrics"][0]["value"] == round(own["test/movie/f1"], 4)
    assert "| pooling | mean |" in body
    assert "| sentiment | classification | NEGATIVE, POSITIVE | Sample |" in body
    assert re.search(r"\| movie \| f1 \| 0\.\d{4} \| 0\.\d{4} \|", body)
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    found = b"".join(file.read_bytes() for file in (tmp_path / "out").rglob("*.json"))
    assert str(run.folder).encode() not in found
    assert str(run.folder) not in body


def test_one_task_of_transformers(run: Run, tmp_path: Path) -> None:
    done = exported(run, "format=transformers", "task=movie")
    assert done.status == 0
    assert re.search(r"largest difference: \d\.\de[+-]\d\d\nexported: out", done.out)
    assert "takes the best tag of each word" in done.err
    metadata, body = card_of(tmp_path / "out")
    assert metadata["pipeline_tag"] == "token-classification"
    assert "sentiment" not in body


def test_a_graph_with_int8_that_is_measured_and_shown(run: Run, tmp_path: Path) -> None:
    arguments = ["format=onnx", "quantize=true", "limit=40", "push=me/films", "dry_run=true"]
    done = exported(run, *arguments)
    assert done.status == 0, done.err
    files = sorted(file.name for file in (tmp_path / "out").iterdir())
    others = {"README.md", MARK, "config.json", "tokenizer.json", "tokenizer_config.json"}
    assert set(files) == {"model.onnx", "model_int8.onnx", *others}
    assert "sentiment  accuracy  40  " in done.out
    assert "movie  f1  40  " in done.out
    _, body = card_of(tmp_path / "out")
    assert re.search(r"\| sentiment \| accuracy \| 40 \| \d\.\d{4} \| \d\.\d{4} \| [+-]", body)
    assert 'folder = Path("me/films")' in body
    assert "dry run, nothing was sent; a push would send" in done.out
    for file in files:
        assert re.search(rf"[\d.]+ [kM]?B  {re.escape(file)}$", done.out, re.MULTILINE)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """In place of graphs, files of zeros: those that were written."""
    from candelabra.exporting import onnx
    from candelabra.model import onnx_graph

    files: list[Path] = []

    def write(path: Path) -> None:
        path.write_bytes(b"0" * 1000)
        files.append(path)

    monkeypatch.setattr(onnx, "save_graph", lambda graph, file, outputs: write(file))
    monkeypatch.setattr(onnx, "largest_difference", lambda *_: 0.0)
    monkeypatch.setattr(onnx_graph, "quantize", lambda file, target: write(target))
    return files


def test_data_are_read_before_anything_is_written(
    run: Run, tmp_path: Path, traced: list[Path]
) -> None:
    missing = ["+task@tasks.sentiment=imdb", "data_dir=nope"]
    done = exported(run, "format=onnx", "quantize=true", *missing)
    assert (done.status, done.message) == (2, "task 'sentiment': data_dir=nope: no such folder")
    assert traced == []
    assert not (tmp_path / "out").exists()


def test_int8_without_data_is_not_measured(run: Run, tmp_path: Path, traced: list[Path]) -> None:
    config = run.bundle / "config.json"
    before = config.read_text()
    gone = json.loads(before)
    for task in gone["tasks"].values():
        task["source"] = {"_target_": "candelabra.data.Files", "train": "/nope.csv"}
        task["source"]["test"] = "/nope.csv"
    config.write_text(json.dumps(gone))
    write_checksums(run.bundle)
    try:
        done = exported(run, "format=onnx", "quantize=true")
    finally:
        config.write_text(before)
        write_checksums(run.bundle)
    assert done.status == 0
    assert "The int8 graph was not evaluated: " in done.out
    assert "The int8 graph was not evaluated: " in card_of(tmp_path / "out")[1]
    assert len(traced) == 2


def test_int8_of_vectors_alone_has_nothing_to_measure(tmp_path: Path, traced: list[Path]) -> None:
    source = {"_target_": "candelabra.data.Files", "test": "/nope.csv"}
    bundle = bundle_of({"near": EmbeddingHead(WIDTH)})
    bundle.config.tasks["near"]["source"] = source
    bundle.save(tmp_path / "bundle")
    words = ["format=onnx", "quantize=true", "data_dir=nope"]
    done = called("export", "bundle=bundle", "output=out", *words)
    assert done.status == 0, done.err
    said = "The int8 graph was not evaluated: none of the tasks (near) has an output of the graph"
    assert said in done.out
    assert said in card_of(tmp_path / "out")[1]
    assert len(traced) == 2


REFUSED = {
    "no format": ([], "export needs format=NAME, one of sentence_transformers, transformers, onnx"),
    "format": (["format=onx"], "format must be one of .*, got 'onx'; did you mean 'onnx'?"),
    "task": ([QUICK, "task=moovie"], "task must be one of sentiment, movie.*'movie'?"),
    "one task": (["format=transformers"], "holds one task: task must be one of sentiment, movie"),
    "head": (["format=transformers", "task=sentiment"], "cannot hold tasks.sentiment.*: onnx"),
    "truncation": ([QUICK, "truncation=head_tail"], "truncation must be one of head, tail"),
    "int8": ([QUICK, "quantize=true"], "quantize=true needs format=onnx"),
    "split": (["format=onnx", "split=tset"], "split must be one of .*'test'?"),
    "limit": (["format=onnx", "limit=0"], "limit must be .* at least 1, got 0"),
    "dry run": ([QUICK, "dry_run=true"], "needs push=USER/NAME"),
    "push": ([QUICK, "push=films", "dry_run=true"], "push must be USER/NAME, got 'films'"),
    "name": ([QUICK, "push=me/a b", "dry_run=true"], "push=me/a b: "),
    "token": ([QUICK, "push=me/films"], "nobody is logged in to the Hub; run `hf auth login`"),
    "inside": ([QUICK, "output=run/bundle/out"], "may be inside the other"),
    "around": ([QUICK, "output=run"], "may be inside the other"),
    "unknown key": ([QUICK, "qantize=true"], "no key 'qantize'.*'quantize'?"),
    "added key": ([QUICK, "+foo=1"], "no key 'foo'"),
    "bundle": ([QUICK, "bundle=nope"], "bundle=nope: no such folder"),
    "flag": ([QUICK, "-m"], "the only flag is --config-dir"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_input_is_one_message(
    case: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.chdir(run.folder.parent)
    before = sorted(run.folder.parent.rglob("*"))
    arguments, said = REFUSED[case]
    done = exported(run, *arguments)
    assert done.status == 2
    assert re.search(said, done.message)
    assert sorted(run.folder.parent.rglob("*")) == before


def test_a_bundle_and_an_output_are_needed(run: Run) -> None:
    assert called("export", QUICK, "output=out").message == "export needs bundle=FOLDER"
    missing = called("export", QUICK, f"bundle={run.bundle}")
    assert missing.message == "export needs output=FOLDER"


def test_a_truncation_that_files_do_not_know(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    bundle.save(tmp_path / "bundle")
    config = read_json(tmp_path / "bundle" / "config.json")
    config["truncation"] = "head_tail"
    (tmp_path / "bundle" / "config.json").write_text(json.dumps(config))
    write_checksums(tmp_path / "bundle")
    done = called("export", "bundle=bundle", QUICK, "output=out")
    assert done.status == 2
    assert "the bundle truncates long texts with truncation=head_tail" in done.message
    done = called("export", "bundle=bundle", QUICK, "output=out", "truncation=tail")
    assert done.status == 0
    assert "truncation=head_tail, this export with tail" in done.err
    assert read_json(tmp_path / "out" / "tokenizer_config.json")["truncation_side"] == "left"


def test_only_an_earlier_export_is_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert exported(run, QUICK).status == 0
    done = exported(run, QUICK)
    assert done.status == 2
    assert done.message == "output=out: not empty; overwrite=true replaces an earlier export"
    (tmp_path / "out" / "old.txt").write_text("old")
    assert exported(run, QUICK, "overwrite=true").status == 0
    assert not (tmp_path / "out" / "old.txt").exists()
    (tmp_path / "out" / MARK).unlink()
    done = exported(run, QUICK, "overwrite=true")
    assert done.status == 2
    assert f"has no file {MARK}" in done.message
    (tmp_path / "file").write_text("")
    assert (
        "must be a folder" in called("export", f"bundle={run.bundle}", QUICK, "output=file").message
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "out"]


def test_a_failure_leaves_the_earlier_export(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exported(run, QUICK).status == 0
    before = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*.json")}
    monkeypatch.setattr("candelabra.exporting.card.card", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        exported(run, QUICK, "overwrite=true")
    assert {file: file.read_bytes() for file in (tmp_path / "out").rglob("*.json")} == before
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_what_a_killed_export_left_is_cleared(run: Run, tmp_path: Path) -> None:
    """It died when the earlier export was moved away, and the new one not yet in its place."""
    assert exported(run, QUICK).status == 0
    dead = ended_process()
    (tmp_path / "out").rename(tmp_path / f".out.{dead}.old")
    (tmp_path / f".out.{dead}.tmp").mkdir()
    (tmp_path / f".out.{dead}.tmp" / "model.safetensors").write_bytes(b"half")
    assert "overwrite=true replaces an earlier export" in exported(run, QUICK).message
    assert exported(run, QUICK, "overwrite=true").status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("size", [100, 20_000, 1_000_000])
@pytest.mark.parametrize("form", ["sentence_transformers", "transformers"])
def test_a_full_disk_is_one_message(run: Run, tmp_path: Path, form: str, size: int) -> None:
    *_, task = json.loads((run.bundle / "labels.json").read_text())
    with full_disk(size):
        done = exported(run, f"format={form}", f"task={task}")
    assert done.status == 2
    assert done.err.splitlines()[-1].startswith("candelabra: error: output=")
    assert "Traceback" not in done.err
    assert not list(tmp_path.iterdir())


def test_a_key_of_a_task_may_have_the_name_of_a_key_of_the_command() -> None:
    cfg, _, _ = compose_command("export", ["+tasks.mood.limit={test: 3}", "limit=5"], ())
    assert (cfg.tasks.mood.limit, cfg.limit) == ({"test": 3}, 5)
