from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from candelabra.bundle.bundle import Bundle
from candelabra.bundle.checksums import write_checksums
from candelabra.evaluation.bootstrap import mcnemar
from helpers.bundles import edit
from helpers.command_line import HEAVY_AFTER, SMALL, Run, called, python
from helpers.stand_ins import write_data


@pytest.fixture
def other(bundle: Bundle, tmp_path: Path) -> str:
    """The run's bundle with worse heads."""
    bundle.save(tmp_path / "other")
    file = tmp_path / "other" / "heads.safetensors"
    torch.manual_seed(0)
    tensors = safetensors.torch.load_file(file)
    noisy = {name: each + 0.1 * torch.randn_like(each) for name, each in tensors.items()}
    safetensors.torch.save_file(noisy, file)
    write_checksums(file.parent)
    return str(tmp_path / "other")


def written(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "out" / "comparison.json").read_text())
    assert isinstance(found, dict)
    return found


def hits(folder: Path) -> np.ndarray:
    lines = (folder / "predictions" / "sentiment.jsonl").read_text().splitlines()
    return np.array([r["label"] == r["prediction"]["label"] for r in map(json.loads, lines)])


def test_both_score_as_evaluated_alone(run: Run, other: str, tmp_path: Path) -> None:
    done = called("compare", f"models=[{run.folder},{other}]", "output=out", "resamples=200")
    assert done.status == 0, done.err
    assert called("evaluate", f"bundle={other}", "output=alone").status == 0
    found, alone = written(tmp_path), json.loads((tmp_path / "alone/metrics.json").read_text())
    assert found["metrics"][other] == alone
    own = {key: score for key, score in run.json("metrics.json").items() if key in alone}
    assert found["metrics"][str(run.folder)] == pytest.approx(own, abs=1e-7)
    for key in ("test/sentiment/accuracy", "test/movie/f1"):
        told = found["intervals"][key][other]
        assert told["difference"] == pytest.approx(alone[key] - own[key], abs=1e-6)
        assert told["low"] <= told["difference"] <= told["high"]
        assert told["low"] < told["high"]
        assert f"{told['difference']:+.4f} [{told['low']:+.4f}, {told['high']:+.4f}]" in done.out
    right = [hits(tmp_path / "out" / place) for place in ("1", "2")]
    told = found["intervals"]["test/sentiment/accuracy"][other]
    assert told["p_value"] == pytest.approx(mcnemar(*right))
    assert found["intervals"]["test/movie/f1"][other]["p_value"] is None


def test_a_third_model_stands_beside_them(run: Run, other: str, tmp_path: Path) -> None:
    words = [f"models={other}, {run.folder}, {run.bundle}", "resamples=20", "output=out"]
    done = called("compare", *words)
    assert done.status == 0, done.err
    told = written(tmp_path)["intervals"]["test/movie/f1"]
    assert told[str(run.folder)] == told[str(run.bundle)]
    assert "run - other" in done.out
    assert "bundle - other" in done.out


def test_common_tasks_are_compared(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    bundle.merged("movie").save(tmp_path / "one")
    done = called("compare", f"models=[{run.bundle},{tmp_path / 'one'}]", "resamples=20")
    assert done.status == 0, done.err
    assert f"skipped: task 'sentiment', because {tmp_path / 'one'} does not have it" in done.err
    assert "sentiment" not in done.out
    assert "+0.0000 [+0.0000, +0.0000]" in done.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "outputs"]


def test_wanted_tasks_on_other_data(run: Run, other: str, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    words = ["+task@tasks.sentiment=imdb", f"data_dir={data}", "output=out", "resamples=20"]
    done = called("compare", f"models=[{run.bundle},{other}]", *words)
    assert done.status == 0, done.err
    found = written(tmp_path)
    assert set(found["intervals"]) == {"test/sentiment/accuracy"}
    assert {key.split("/")[1] for key in found["metrics"][other]} == {"sentiment", "score"}


def test_models_on_other_rows_are_not_compared(run: Run, other: str, tmp_path: Path) -> None:
    def shorten(config: dict[str, Any]) -> None:
        config["tasks"]["sentiment"]["limit"] = {"test": 5}

    edit(Path(other) / "config.json", shorten)
    done = called("compare", f"models=[{run.bundle},{other}]", "output=out")
    assert done.status == 2
    said = f"task 'sentiment': {run.bundle} was evaluated on other texts than {other}"
    assert said in done.err
    assert not (tmp_path / "out" / "comparison.json").exists()


REFUSED = {
    "one model": (["models=[{a}]"], "needs models=[A,B], at least two names; found ["),
    "none": ([], "needs models=[A,B]"),
    "the same twice": (["models=[{a},{a}]"], "is given twice"),
    "no bundle": (["models=[{a},nope]"], "models=nope: no such folder"),
    "no such task": (
        ["models=[{a},{b}]", "+task@tasks.sentimnt=imdb", "data_dir=data"],
        "has no task 'sentimnt'; did you mean 'sentiment'? (it has sentiment, movie)",
    ),
    "resamples": (["models=[{a},{b}]", "resamples=0"], "resamples"),
    "split": (["models=[{a},{b}]", "split=tset"], "split must be one of"),
    "precision": (["models=[tiny,minilm_random]", "precision=foo"], "precision must be one of"),
    "data": (["models=[tiny,{a}]", "tasks=stsb", "data_dir=no"], "data_dir=no: no such folder"),
    "output": (["models=[{a},{b}]", "output={a}/config.json/x"], "config.json is not a folder"),
    "key": (["models=[{a},{b}]", "resample=9"], "no key 'resample'; did you mean 'resamples'?"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_input_is_one_message(case: str, run: Run) -> None:
    words, said = REFUSED[case]
    done = called("compare", *(word.format(a=run.bundle, b=run.folder) for word in words))
    assert done.status == 2
    assert said in done.message


def test_no_task_in_common(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    for task in ("movie", "sentiment"):
        bundle.merged(task).save(tmp_path / task)
    done = called("compare", f"models=[{tmp_path / 'movie'},{tmp_path / 'sentiment'}]")
    assert "the models have no task in common" in done.message


def test_a_wrong_model_is_refused_before_heavy_imports(run: Run) -> None:
    done = python("-c", HEAVY_AFTER, "compare", f"models=[{run.bundle},nope]")
    assert (done.status, done.out.strip()) == (2, "heavy:")


def test_the_untrained_encoder_stands_beside_a_trained_one(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    run = ["tasks=stsb", f"data_dir={data}", "hydra.run.dir=trained", "optimizer.lr=1e-2"]
    trained = called("train", *SMALL, *run, "test=false")
    assert trained.status == 0, trained.err
    words = ["tasks=stsb", f"data_dir={data}", "output=out", "resamples=50"]
    done = called("compare", "models=[tiny,trained]", *words)
    assert done.status == 0, done.err
    found = written(tmp_path)
    assert called("evaluate", "encoder=tiny", *words[:2], "output=alone").status == 0
    alone = json.loads((tmp_path / "alone/metrics.json").read_text())
    assert found["metrics"]["tiny"] == alone
    assert found["metrics"]["trained"]["test/sts/spearman"] != alone["test/sts/spearman"]


def test_what_says_nothing_of_single_rows_has_no_interval(run: Run, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    words = ["tasks=banking77_grouping", f"data_dir={data}", "output=out", "resamples=50"]
    (tmp_path / "mine/encoder").mkdir(parents=True)
    (tmp_path / "mine/encoder/other.yaml").write_text("defaults: [tiny, _self_]\nseed: 5\n")
    done = called("compare", "models=[tiny,other]", "--config-dir", "mine", *words)
    assert done.status == 0, done.err
    found = written(tmp_path)
    assert set(found["metrics"]) == {"tiny", "other"}
    assert found["intervals"] == {}
