from __future__ import annotations

import csv
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml

from candelabra.bundle.bundle import Bundle, load
from candelabra.config.schema import RUN_ID
from helpers.command_line import Run, called
from helpers.stand_ins import write_data

SMALL = ["encoder=tiny", "logger=csv", "callbacks=plain", "trainer.max_epochs=1"]
SMALL += ["trainer.limit_train_batches=2", "trainer.limit_val_batches=3"]


def test_run_folder_holds_what_a_reader_needs(run: Run) -> None:
    assert {file.name for file in run.folder.iterdir()} >= {
        "config.yaml",
        "metrics.json",
        "checkpoints",
        "bundle",
        "predictions",
        "metrics.csv",
        "run.log",
        "run.json",
    }
    found = {file.name for file in (run.folder / "checkpoints").iterdir()}
    assert found == {"best.ckpt", "resume.ckpt"}


def test_record_identifies_the_run(run: Run) -> None:
    record = run.json("run.json")
    assert record["status"] == "finished"
    assert RUN_ID.fullmatch(record["run_id"])
    assert (record["seed"], record["steps"], record["steps_per_epoch"]) == (3, 20, 10)
    assert "encoder=tiny" in record["overrides"]
    assert set(record["fingerprints"]) == {"sentiment", "movie"}
    assert record["started"] <= record["ended"]
    assert record["tokens_per_second"] > 0


def test_config_is_resolved(run: Run) -> None:
    text = (run.folder / "config.yaml").read_text()
    assert "${" not in text
    config = yaml.safe_load(text)
    assert config["seed"] == 3
    assert set(config["tasks"]) == {"sentiment", "movie"}


def test_metrics_are_one_flat_object_of_numbers(run: Run) -> None:
    metrics = run.json("metrics.json")
    assert all(isinstance(value, float) for value in metrics.values())
    for split in ("val", "test"):
        main = [metrics[f"{split}/sentiment/accuracy"], metrics[f"{split}/movie/f1"]]
        assert metrics[f"{split}/score"] == pytest.approx(sum(main) / 2)
    assert not [key for key in metrics if not key.startswith(("val/", "test/"))]


def test_reported_validation_is_the_best_epochs(run: Run) -> None:
    with (run.folder / "metrics.csv").open() as stream:
        scores = [float(row["val/score"]) for row in csv.DictReader(stream) if row["val/score"]]
    assert len(scores) == 2
    assert run.json("metrics.json")["val/score"] == pytest.approx(max(scores))


def test_loss_of_every_task_is_logged(run: Run) -> None:
    with (run.folder / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for key in ("train/loss", "train/sentiment/loss", "train/movie/loss"):
        assert [row[key] for row in rows if row[key]]


def test_checkpoints_hold_no_code(run: Run) -> None:
    for file in (run.folder / "checkpoints").iterdir():
        torch.load(file, weights_only=True)


def test_predictions_follow_the_source(run: Run) -> None:
    for task, size in {"sentiment": 500, "movie": 250}.items():
        lines = (run.folder / "predictions" / f"{task}.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert len(rows) > size / 10
        assert all(before["row"] < after["row"] for before, after in pairwise(rows))
    sentiment = (run.folder / "predictions" / "sentiment.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in sentiment]
    right = [row["label"] == row["prediction"]["label"] for row in answers]
    assert sum(right) / len(right) == pytest.approx(
        run.json("metrics.json")["test/sentiment/accuracy"]
    )


def test_end_is_a_readable_table(run: Run) -> None:
    assert run.done.err == ""
    metrics = run.json("metrics.json")
    shown = f"{metrics['val/score']:.4f} │ {metrics['test/score']:.4f}"
    assert re.search(rf"all +│ score +│ +{shown}", run.done.out)
    assert run.done.out.rstrip().endswith(f"run folder: {run.folder}")


def test_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert called("train", *SMALL, f"hydra.run.dir={name}").status == 0
    a, b = (load(tmp_path / name).model.state_dict() for name in ("a", "b"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert called("train", *SMALL, "seed=1", "hydra.run.dir=c").status == 0
    c = load(tmp_path / "c").model.state_dict()
    assert not all(torch.equal(a[key], c[key]) for key in a)


def test_a_finished_run_is_left_alone(run: Run) -> None:
    def state() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in run.folder.rglob("*")}

    before = state()
    for folder in (f"{run.folder}", f"'{run.folder}'"):
        done = called("train", *SMALL, f"hydra.run.dir={folder}")
        rule = "holds a finished run; name a new folder, or delete it"
        assert (done.status, done.message) == (2, f"hydra.run.dir={run.folder}: {rule}")
    assert state() == before


def test_single_task_is_the_same_command(tmp_path: Path) -> None:
    done = called("train", *SMALL, "~tasks.movie", "hydra.run.dir=run")
    assert (done.status, done.err) == (0, "")
    (answer,) = load(tmp_path / "run").predict("a fine film")
    assert set(answer) == {"text", "sentiment"}


def test_third_task_is_one_yaml(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    (tmp_path / "mine" / "task").mkdir(parents=True)
    (tmp_path / "mine" / "task" / "intents.yaml").write_text(
        "defaults: [base/classification@_here_, _self_]\n"
        "source:\n"
        "  _target_: candelabra.data.Files\n"
        "  folder: ${data_dir}\n"
        "  train: banking77/train.parquet\n"
        "  test: banking77/test.parquet\n"
        "columns: {text: text, label: label_text}\n"
    )
    own = ["--config-dir", "mine", "+task@tasks.intent=intents", f"data_dir={tmp_path / 'data'}"]
    done = called("train", *SMALL, *own, "head@tasks.intent.head=mlp", "hydra.run.dir=run")
    assert (done.status, done.err) == (0, "")
    bundle = load(tmp_path / "run")
    assert bundle.labels["intent"] == ["activate_my_card", "card_arrival", "exchange_rate"]
    (answer,) = bundle.predict("what is it worth")
    assert set(answer) == {"text", "sentiment", "movie", "intent"}


def test_environment_is_masked_in_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", str(tmp_path / "topsecret"))
    write_data(tmp_path / "topsecret")
    given = ["tasks=banking77", "data_dir=${oc.env:MY_SECRET}", "hydra.run.dir=run"]
    done = called("train", *SMALL, *given)
    assert (done.status, done.err) == (0, "")
    written = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert len(written) > 8
    assert not [file for file in written if b"topsecret" in file.read_bytes()]
    assert "data_dir: <from the environment>" in (tmp_path / "run" / "config.yaml").read_text()


def test_failure_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Bundle, folder: Path) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Bundle, "save", fail)
    with pytest.raises(OSError, match="no space left"):
        called("train", *SMALL, "hydra.run.dir=run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "failed"
    assert "no space left" in record["error"]
    assert (tmp_path / "run" / "metrics.json").is_file()
