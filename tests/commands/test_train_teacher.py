"""`candelabra train teacher=BUNDLE`."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from candelabra.bundle.checksums import write_checksums
from candelabra.processes import TRIAL
from candelabra.run import finish
from helpers.bundles import edit, made
from helpers.command_line import SMALL, Run, called
from helpers.interrupted_runs import fail
from helpers.stand_ins import write_data


def trained(folder: Path, *words: str) -> dict[str, float]:
    settings = [*SMALL, "callbacks=plain", "trainer.log_every_n_steps=1", "seed=5"]
    settings += [f"paths.output_dir={folder}", f"hydra.run.dir={folder / 'run'}"]
    done = called("train", *settings, *words)
    assert done.status == 0, done.err
    with (folder / "run" / "metrics.csv").open() as file:
        columns = next(csv.reader(file))
    assert columns
    return dict.fromkeys(columns, 0.0) | json.loads((folder / "run" / "metrics.json").read_text())


def test_a_run_folder_teaches_both_tasks(run: Run, tmp_path: Path) -> None:
    columns = trained(tmp_path, f"teacher={run.folder}")
    assert {"train/sentiment/divergence", "train/movie/divergence"} <= set(columns)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert set(record["fingerprints"]) >= {"teacher of sentiment", "teacher of movie"}


def test_a_task_may_have_a_teacher_of_its_own_and_none_turns_it_off(
    run: Run, tmp_path: Path
) -> None:
    columns = trained(tmp_path / "one", f"teacher={{movie: {run.folder}}}")
    assert "train/movie/divergence" in columns
    assert "train/sentiment/divergence" not in columns
    off = trained(tmp_path / "off", f"teacher={run.folder}", "distillation=none")
    assert not [name for name in off if name.endswith("/divergence")]


PAIRS = {
    "embedding": ["tasks=stsb"],
    "pair": ["tasks=nli_softmax"],
    "regression": ["tasks=stsb_cross"],
}


@pytest.mark.parametrize(
    "kind",
    ["embedding", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("pair", "regression"))],
)
def test_heads_of_two_texts_learn_from_a_wider_encoder(kind: str, tmp_path: Path) -> None:
    words = [*PAIRS[kind], f"data_dir={write_data(tmp_path / 'data')}"]
    trained(tmp_path / "large", *words, "+encoder.width=48")
    columns = trained(tmp_path / "small", *words, f"teacher={tmp_path / 'large' / 'run'}")
    assert [name for name in columns if name.endswith("/divergence")]


def test_a_wrong_teacher_is_named_before_any_work(tmp_path: Path) -> None:
    done = called("train", *SMALL, f"teacher={tmp_path}", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.status == 2
    assert "teacher" in done.message
    done = called("train", *SMALL, "distillation.weight=2", f"hydra.run.dir={tmp_path / 'run'}")
    assert "distillation.weight must be" in done.message


def test_all_teachers_are_checked_before_the_first_answers(run: Run, tmp_path: Path) -> None:
    made().merged("mood").save(tmp_path / "moods")
    teachers = f"teacher={{sentiment: {run.folder}, movie: {tmp_path / 'moods'}}}"
    places = [f"hydra.run.dir={tmp_path / 'run'}", f"paths.cache_dir={tmp_path / 'cache'}"]
    done = called("train", *SMALL, teachers, *places)
    assert done.status == 2
    assert re.search(r"teacher of tasks.movie: .* teaches classification", done.message)
    assert not list(tmp_path.glob("cache/*teacher*"))


def test_a_damaged_teacher_is_named_before_the_first_answers(run: Run, tmp_path: Path) -> None:
    damaged = shutil.copytree(run.bundle, tmp_path / "damaged")
    with (damaged / "heads.safetensors").open("ab") as file:
        file.write(b"x")
    teachers = f"teacher={{sentiment: {run.folder}, movie: {damaged}}}"
    places = [f"hydra.run.dir={tmp_path / 'run'}", f"paths.cache_dir={tmp_path / 'cache'}"]
    done = called("train", *SMALL, teachers, *places)
    assert done.status == 2
    assert "heads.safetensors: damaged" in done.message
    assert not list(tmp_path.glob("cache/*teacher*"))
    (damaged / "checksums.json").unlink()
    assert "incomplete bundle" in called("train", *SMALL, teachers, *places).message


def test_a_resumed_run_keeps_its_teacher(run: Run, tmp_path: Path) -> None:
    teacher = shutil.copytree(run.bundle, tmp_path / "teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "restore_best", fail)
        with pytest.raises(ArithmeticError):
            trained(tmp_path, f"teacher={teacher}")
    # The same weights read other texts.
    edit(teacher / "config.json", lambda config: config.update(max_length=16))
    write_checksums(teacher)
    done = called("train", f"resume={tmp_path / 'run'}")
    assert done.status == 2
    assert re.search("the data of teacher of (movie|sentiment).* were changed", done.message)


def texts_of(folder: Path, name: str, rows: list[dict[str, object]]) -> Path:
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_texts_without_labels_are_learnt_from(run: Run, tmp_path: Path) -> None:
    texts = texts_of(tmp_path, "texts", [{"text": f"a film of {n}"} for n in range(7)])
    words = texts_of(tmp_path, "words", [{"tokens": ["who", "is", str(n)]} for n in range(5)])
    columns = trained(
        tmp_path,
        f"teacher={run.folder}",
        f"tasks.sentiment.unlabelled={texts}",
        f"tasks.movie.unlabelled={words}",
    )
    assert {"train/sentiment/divergence", "train/movie/divergence"} <= set(columns)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["teacher_only"] == {"sentiment": 7, "movie": 5}
    plain = run.json("run.json")["fingerprints"]
    for task in ("sentiment", "movie"):
        found = record["fingerprints"][task]
        assert found["train"] != plain[task]["train"]
        assert found["validation"] == plain[task]["validation"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["teacher=null"], r"tasks.sentiment.unlabelled=.* needs a teacher of this task"),
        (["teacher={movie: {run}}"], "tasks.sentiment.unlabelled=.* needs a teacher"),
        (["distillation=none"], "tasks.sentiment.unlabelled=.* needs a teacher"),
        (
            ["tasks.sentiment.train=false", "teacher={movie: {run}}"],
            "tasks.sentiment.unlabelled=.* is for training, and tasks.sentiment.train is false",
        ),
        (["tasks.sentiment.unlabelled=no.jsonl"], "sentiment.unlabelled: no.jsonl: missing file"),
        (["tasks.sentiment.columns.text=review"], "missing column 'review'"),
        (
            ["+task@tasks.next=nli_ranking", "tasks.next.unlabelled={file}"],
            "tasks.next.unlabelled must be null where columns name anchor, positive",
        ),
    ],
)
def test_texts_that_nothing_could_be_learnt_from_are_refused(
    words: list[str], named: str, run: Run, tmp_path: Path
) -> None:
    file = texts_of(tmp_path, "texts", [{"text": "a film"}])
    given = [f"teacher={run.folder}", f"tasks.sentiment.unlabelled={file}", *words]
    places = {"{run}": str(run.folder), "{file}": str(file)}
    for sign, place in places.items():
        given = [word.replace(sign, place) for word in given]
    done = called("train", *SMALL, *given, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.status == 2
    assert re.search(named, done.message)


def test_a_run_names_who_teaches_which_task(run: Run, tmp_path: Path) -> None:
    words = [*SMALL, f"paths.output_dir={tmp_path}", f"teacher={{movie: {run.folder}}}"]
    done = called("train", *words, f"hydra.run.dir={tmp_path / 'run'}")
    assert f"teacher of movie: {run.folder}" in done.out
    assert "teacher of sentiment: none, it learns from its labels alone" in done.out


def test_settings_of_the_distillation_need_a_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*SMALL, f"paths.output_dir={tmp_path}", "distillation.weight=1", "test=false"]
    done = called("train", *words)
    message = "distillation.weight=1 has no effect without a teacher: add teacher=BUNDLE"
    assert (done.status, done.message) == (2, message)
    monkeypatch.setenv(TRIAL, "1")  # another trial of its sweep may have a teacher
    assert called("train", *words).status == 0
