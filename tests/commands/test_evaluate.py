from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from candelabra.commands import models
from candelabra.commands.arguments import compose
from candelabra.evaluation import evaluate
from candelabra.evaluation.subject import evaluation_target
from helpers.command_line import Done, Run, called
from helpers.full_disks import full_disk
from helpers.stand_ins import ROWS, write_data


def evaluated(run: Run, *arguments: str) -> Done:
    return called("evaluate", f"bundle={run.bundle}", "output=out", *arguments)


def written(folder: Path) -> dict[str, float]:
    found = json.loads((folder / "out" / "metrics.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("split", "prefix"), [("test", "test/"), ("validation", "val/")])
def test_equals_the_runs_own_metrics(split: str, prefix: str, run: Run, tmp_path: Path) -> None:
    done = evaluated(run, f"split={split}")
    assert (done.status, done.err) == (0, "")
    own = {key: value for key, value in run.json("metrics.json").items() if key.startswith(prefix)}
    assert written(tmp_path) == pytest.approx(own, abs=1e-7)
    assert len(own) > 10
    assert f"{own[f'{prefix}score']:.4f}" in done.out


def test_predictions_equal_the_runs_own(run: Run, tmp_path: Path) -> None:
    assert evaluated(run).status == 0
    for task in ("sentiment", "movie"):
        rows = []
        for folder in (run.folder, tmp_path / "out"):
            lines = (folder / "predictions" / f"{task}.jsonl").read_text().splitlines()
            rows.append([json.loads(line) for line in lines])
        assert [row["row"] for row in rows[0]] == [row["row"] for row in rows[1]]
        assert [row["label"] for row in rows[0]] == [row["label"] for row in rows[1]]


def test_a_full_disk_is_one_message(run: Run, tmp_path: Path) -> None:
    with full_disk(100):
        done = evaluated(run)
    assert done.status == 2
    assert done.message.startswith("output=out: cannot be written: File too large")
    assert not [file for file in (tmp_path / "out").rglob("*") if file.is_file()]


def test_batch_size_has_no_influence(run: Run, tmp_path: Path) -> None:
    assert evaluated(run, "precision=32-true").status == 0
    large = written(tmp_path)
    assert evaluated(run, "precision=32-true", "eval_batch_size=7").status == 0
    assert written(tmp_path) == pytest.approx(large, abs=1e-6)


def test_train_split(run: Run, tmp_path: Path) -> None:
    assert evaluated(run, "split=train").status == 0
    assert all(key.startswith("train/") for key in written(tmp_path))


def test_other_data_for_a_task(run: Run, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    done = evaluated(run, "+task@tasks.sentiment=imdb", f"data_dir={data}")
    assert (done.status, done.err) == (0, "")
    found, own = written(tmp_path), run.json("metrics.json")
    assert found["test/movie/f1"] == own["test/movie/f1"]
    lines = (tmp_path / "out" / "predictions" / "sentiment.jsonl").read_text().splitlines()
    assert len(lines) == pq.read_metadata(data / "imdb" / "test.parquet").num_rows


def test_data_of_ones_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine" / "task").mkdir(parents=True)
    (tmp_path / "mine" / "task" / "films.yaml").write_text(
        "defaults: [base/classification@_here_, _self_]\n"
        "source:\n"
        "  _target_: candelabra.data.Files\n"
        f"  train: {tmp_path / 'films.parquet'}\n"
        f"  test: {tmp_path / 'films.parquet'}\n"
        "columns: {text: review, label: mood}\n"
    )
    table = pa.table({"review": ["good", "bad"], "mood": ["POSITIVE", "NEGATIVE"]})
    pq.write_table(table, tmp_path / "films.parquet")
    done = evaluated(run, "--config-dir", "mine", "+task@tasks.sentiment=films")
    assert (done.status, done.err) == (0, "")
    assert written(tmp_path)["test/sentiment/accuracy"] in (0, 0.5, 1)


def test_nothing_is_written_unasked(run: Run, tmp_path: Path) -> None:
    done = called("evaluate", f"bundle={run.folder}", "cache_dir=null")
    assert (done.status, done.err) == (0, "")
    assert list(tmp_path.iterdir()) == []


REFUSED = {
    "task that the bundle lacks": (
        ["+task@tasks.sentimnt=imdb", "data_dir=data"],
        ["tasks has no key 'sentimnt'", "did you mean 'sentiment'?"],
    ),
    "other labels": (
        ["+task@tasks.sentiment=banking77", "data_dir=data"],
        ["task 'sentiment'", "unknown label", "activate_my_card"],
    ),
    "missing data": (
        ["+task@tasks.sentiment=imdb", "data_dir=nope"],
        ["task 'sentiment'", "data_dir=nope: no such folder"],
    ),
    "split": (["split=tset"], ["split must be one of train, validation, test", "'test'?"]),
    "batch size": (["eval_batch_size=0"], ["eval_batch_size", "at least 1, got 0"]),
    "unknown key": (["bach_size=1"], ["no key 'bach_size'"]),
    "added key": (["+foo=1"], ["no key 'foo'"]),
    "unknown option": (["+task@tasks.movie=imbd"], ["task has no option 'imbd'", "'imdb'?"]),
    "flag": (["-m"], ["the only flag is --config-dir FOLDER"]),
    "config dir": (["--config-dir", "nope"], ["no such folder"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_input_is_one_message(case: str, run: Run, tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    arguments, parts = REFUSED[case]
    done = evaluated(run, *arguments)
    assert done.status == 2
    for part in parts:
        assert part in done.message
    assert not (tmp_path / "out").exists()


def test_bundle_is_needed() -> None:
    assert called("evaluate").message.startswith("evaluate needs bundle=FOLDER, or encoder=NAME")
    assert called("evaluate", "bundle=nope").message == "bundle=nope: no such folder"


def test_an_encoder_as_it_is(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    words = ["encoder=tiny", f"data_dir={data}", "output=out", "precision=32-true"]
    done = called("evaluate", *words, "tasks=stsb")
    assert done.status == 0, done.err
    found = written(tmp_path)
    rows = pq.read_table(data / "stsb" / "test.parquet").to_pydict()
    cfg = compose("embed", ["encoder=tiny"])
    vectors = models.open_embedder(cfg, {}).embed([*rows["sentence1"], *rows["sentence2"]])
    cosines = (vectors[: len(vectors) // 2] * vectors[len(vectors) // 2 :]).sum(1)
    predicted = (tmp_path / "out" / "predictions" / "sts.jsonl").read_text().splitlines()
    answers = [json.loads(line)["prediction"]["similarity"] for line in predicted]
    assert answers == pytest.approx(cosines.tolist(), abs=1e-5)
    # Random weights give nearly equal cosines, whose order depends on how a processor rounds.
    right = spearmanr(answers, rows["score"]).statistic
    assert found["test/sts/spearman"] == pytest.approx(right, abs=1e-2)
    assert found["test/score"] == found["test/sts/spearman"]


@pytest.mark.parametrize("tasks", ["banking77", "banking77_grouping"])
def test_labelled_texts_are_probed(tasks: str, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    done = called("evaluate", "encoder=tiny", f"tasks={tasks}", f"data_dir={data}", "output=out")
    assert done.status == 0, done.err
    found = written(tmp_path)
    assert 0 <= found["test/intent/few_shot_accuracy"] <= 1
    assert ("test/intent/accuracy" in found) is (tasks == "banking77_grouping")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "evaluate needs bundle=FOLDER, or encoder=NAME with tasks=PRESET"),
        (["encoder=tiny"], "a pretrained encoder needs tasks to be evaluated on"),
        (["encoder=tiny", "tasks=sample"], "tasks.movie: its head needs training"),
        (["encoder=tiny", "tasks=stsb", "data_dir=no"], "data_dir=no: no such folder"),
    ],
)
def test_what_an_encoder_as_it_is_needs(words: list[str], said: str) -> None:
    done = called("evaluate", *words)
    assert done.status == 2
    assert said in done.message


def test_a_bundle_and_an_encoder_are_one_too_many(run: Run) -> None:
    assert "encoder=tiny: a bundle contains its own" in evaluated(run, "encoder=tiny").message


def test_a_probe_does_not_learn_from_what_it_is_judged_by(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    words = ["encoder=tiny", "tasks=banking77", f"data_dir={data}"]
    cfg = compose("evaluate", [*words, "split=validation"])
    subject = evaluation_target(cfg, None)
    judged, task = subject.data["intent"].splits["validation"], subject.tasks["intent"]
    labels = subject.data["intent"].labels
    for split, left in (("validation", ROWS - len(judged)), ("test", ROWS)):
        train = evaluate._train_of(task, labels, held_out=judged, split=split)
        assert len(train) == left
    assert not set(judged.rows) & set(
        evaluate._train_of(task, labels, held_out=judged, split="validation").rows
    )
    assert "a probe learns from train" in called("evaluate", *words, "split=train").message


def test_a_probe_leaves_rows_without_a_label_out(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    file = data / "banking77" / "train.parquet"
    columns = pq.read_table(file).to_pydict()
    columns["label_text"][0] = None
    pq.write_table(pa.table(columns), file)
    words = ["encoder=tiny", "tasks=banking77", f"data_dir={data}", "output=out"]
    done = called("evaluate", *words, "tasks.intent.missing_labels=skip")
    assert done.status == 0, done.err
    assert "test/intent/few_shot_accuracy" in written(tmp_path)


def test_on_train_embeddings_are_judged_and_nothing_is_probed(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    words = ["encoder=tiny", "tasks=banking77_grouping", f"data_dir={data}", "output=out"]
    done = called("evaluate", *words, "split=train")
    assert done.status == 0, done.err
    found = written(tmp_path)
    assert "train/intent/accuracy" in found
    assert "train/intent/few_shot_accuracy" not in found


def test_an_untrained_encoder_is_judged_by_a_head_as_wide_as_it(tmp_path: Path) -> None:
    words = ["encoder=tiny", "tasks=sample_pairs", "tasks.alike.head.matryoshka_dims=[16]"]
    done = called("evaluate", *words, "output=out")
    assert done.status == 0, done.err
    done = called("evaluate", *words[:2], "tasks.alike.head.matryoshka_dims=[99]")
    assert "matryoshka_dims must be from 1 to 32, found 99" in done.message


def test_weights_that_nobody_trained_are_refused() -> None:
    done = called("evaluate", "encoder=tiny", "pooling=attention", "tasks=sample_pairs")
    assert done.message.startswith("pooling: AttentionPooling has weights of its own")


def test_an_output_that_can_be_no_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    rules = {"file": "must be a folder, is a file", "file/below": "cannot be written: "}
    for output, rule in rules.items():
        message = called("evaluate", f"bundle={run.bundle}", f"output={output}").message
        assert message.startswith(f"output={output}: {rule}")


@pytest.mark.parametrize("word", ["precision=bogus", "accelerator=bogus", "pooling=cls"])
def test_words_that_cannot_be_beside_a_bundle(word: str, run: Run) -> None:
    assert evaluated(run, word).message.startswith(word.partition("=")[0])


def test_a_runs_own_metrics_are_not_replaced(run: Run) -> None:
    before = (run.folder / "metrics.json").read_bytes()
    done = called("evaluate", f"bundle={run.bundle}", f"output={run.folder}")
    rule = "is the folder of a run or a bundle; choose another"
    assert done.message == f"output={run.folder}: {rule}"
    assert (run.folder / "metrics.json").read_bytes() == before
