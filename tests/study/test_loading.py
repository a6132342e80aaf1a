from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from candelabra.errors import DataError
from candelabra.study.inputs import Cost, Status
from candelabra.study.loading import load_arm, load_run
from helpers.study_folders import write_run


def test_reads_what_a_run_left(tmp_path: Path) -> None:
    write_run(tmp_path / "run", ["sentiment", "movie"], seed=3)
    run = load_run(tmp_path / "run", root=tmp_path)
    assert (run.name, run.status, run.problem) == ("run", Status.FINISHED, "")
    assert run.main_metrics == {"sentiment": "accuracy", "movie": "f1"}
    for task, rows in run.rows.items():
        assert rows.scored is not None
        assert rows.scored.value == pytest.approx(run.scores[task], abs=1e-6)
    assert [row["step"] for row in run.history] == [99, 199, 299]
    assert run.cost == Cost(training_seconds=103.0)


def test_a_line_separator_in_a_prediction_ends_no_line(tmp_path: Path) -> None:
    write_run(tmp_path, ["movie"])
    file = tmp_path / "predictions" / "movie.jsonl"
    before = load_run(tmp_path).rows["movie"]
    assert '"it"' in file.read_text()
    file.write_text(file.read_text().replace('"it"', '"i\u2028t\x85"'), encoding="utf-8")
    assert load_run(tmp_path).rows["movie"].num_rows == before.num_rows


def test_encoding_what_is_frozen_is_a_cost_of_the_run(tmp_path: Path) -> None:
    write_run(tmp_path, ["movie"], seed=3, feature_seconds=20.0)
    assert load_run(tmp_path).cost.training_seconds == 123.0


def test_counts_the_parameters_of_a_bundle(tmp_path: Path) -> None:
    write_run(tmp_path, ["sentiment", "movie"])
    for file, shape in {"encoder/model": (3, 4), "heads": (5,)}.items():
        (tmp_path / "bundle" / file).parent.mkdir(parents=True, exist_ok=True)
        save_file({"weight": torch.zeros(shape)}, tmp_path / "bundle" / f"{file}.safetensors")
    config = tmp_path / "bundle" / "config.json"
    config.write_text(json.dumps({"tasks": {"sentiment": {}, "movie": {}}}))
    assert (load_run(tmp_path).cost.parameters, load_run(tmp_path).cost.encoder_passes) == (17, 1)
    config.write_text(json.dumps({"adapter": {}, "tasks": {"sentiment": {}, "movie": {}}}))
    assert load_run(tmp_path).cost.encoder_passes == 2
    (tmp_path / "bundle" / "heads.safetensors").write_bytes(b"half")
    with pytest.raises(DataError, match=r"heads\.safetensors: cannot be read"):
        load_run(tmp_path)


def test_a_run_without_scores_says_why(tmp_path: Path) -> None:
    absent = load_run(tmp_path / "absent", root=tmp_path)
    assert (absent.name, absent.status) == ("absent", Status.MISSING)
    write_run(tmp_path / "failed", ["movie"], status="failed", error="loss is not finite")
    failed = load_run(tmp_path / "failed")
    assert (failed.status, failed.problem) == (Status.FAILED, "loss is not finite")
    assert (failed.main_metrics, failed.scores) == ({"movie": "f1"}, {})
    write_run(tmp_path / "running", ["movie"], status="running")
    assert load_run(tmp_path / "running").status is Status.MISSING
    write_run(tmp_path / "nan", ["movie"])
    (tmp_path / "nan" / "metrics.json").write_text('{"test/movie/f1": NaN}')
    assert load_run(tmp_path / "nan").problem == "metrics.json has no number for test/movie/f1"


def test_predictions_that_do_not_give_the_score_are_not_counted(tmp_path: Path) -> None:
    write_run(tmp_path, ["sentiment"])
    (tmp_path / "metrics.json").write_text('{"test/sentiment/accuracy": 0.25}')
    assert load_run(tmp_path).rows["sentiment"].scored is None


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("run.json", "{"),
        ("metrics.json", "[1]"),
        ("config.yaml", "tasks: {sentiment: }"),
        ("config.yaml", "tasks: [ "),
        ("predictions/sentiment.jsonl", '{"row": 0}\n'),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, file: str, text: str) -> None:
    write_run(tmp_path, ["sentiment"])
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=Path(file).name):
        load_run(tmp_path)


def test_an_untrained_encoder_is_the_output_of_evaluate(tmp_path: Path) -> None:
    write_run(tmp_path, ["sentiment"])
    for file in ("config.yaml", "run.json", "metrics.csv"):
        (tmp_path / file).unlink()
    folders = {0: [tmp_path]}
    metrics = {"sentiment": "accuracy"}
    arm = load_arm("as it is", folders, root=tmp_path, main_metrics=metrics, trained=False)
    run = arm.run_of("sentiment", 0)
    assert run is not None
    assert (run.status, run.rows["sentiment"].num_rows) == (Status.FINISHED, 400)


def test_two_runs_of_a_seed_may_not_have_one_task(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_run(tmp_path / name, ["movie"])
    folders = {0: [tmp_path / "one", tmp_path / "two"]}
    with pytest.raises(DataError, match="'alone', seed 0: two runs have the task 'movie'"):
        load_arm("alone", folders, root=tmp_path)


def test_the_cost_of_an_arm_adds_its_models_and_averages_its_seeds(tmp_path: Path) -> None:
    for seed in (0, 4):
        for task in ("sentiment", "movie"):
            write_run(tmp_path / f"{seed}{task}", [task], seed=seed)
    folders = {
        seed: [tmp_path / f"{seed}{task}" for task in ("sentiment", "movie")] for seed in (0, 4)
    }
    arm = load_arm("alone", folders, root=tmp_path)
    assert arm.cost().training_seconds == 204.0
    assert arm.cost().parameters is None
