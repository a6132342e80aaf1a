"""`candelabra pretrain`."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError
from candelabra.model.backbones import Pretrained, Tiny
from candelabra.pretraining.base import ChangingSplit
from candelabra.records import Examples
from candelabra.report.run_view import run_page
from candelabra.run.pretrain import changing_splits
from helpers.command_line import SMALL, Run, called, started

FEW = [
    *("encoder=tiny", "logger=csv", "callbacks=plain", "batch_size=8", "optimizer.lr=5e-3"),
    *("trainer.max_epochs=4", "trainer.log_every_n_steps=1", "trainer.precision=32-true"),
    *("callbacks.checkpoint.every_n_train_steps=2",),
    *(f"tasks.{task}.limit={{train: 12, validation: 8}}" for task in ("sentiment", "movie")),
]


def pretrained(folder: Path, *words: str) -> Path:
    place = [f"paths.output_dir={folder}", f"hydra.run.dir={folder / 'run'}"]
    done = called("pretrain", *FEW, *place, *words)
    assert done.status == 0, done.err
    start = f"encoder=path encoder.name={folder / 'run' / 'encoder'}"
    assert f"a training begins with this encoder by: {start}" in done.out
    return folder / "run"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(tmp_path_factory.mktemp("pretrained"))


def test_the_loss_falls_and_is_recorded(folder: Path) -> None:
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train/texts/loss"]) for row in rows if row["train/texts/loss"]]
    assert len(losses) == json.loads((folder / "run.json").read_text())["steps"] == 12
    assert sum(losses[-3:]) < 0.95 * sum(losses[:3])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"val/texts/loss", "val/texts/accuracy", "val/score"}


def test_the_folder_is_an_encoder_and_a_model_of_masked_words(folder: Path, tmp_path: Path) -> None:
    encoder = Pretrained(name=str(folder / "encoder"), max_length=64, local=True).load()
    stored = load_file(folder / "encoder" / "model.safetensors")
    for name, tensor in encoder.backbone.state_dict().items():
        assert torch.equal(tensor, stored[f"bert.{name}"])
    untrained = Tiny().load().backbone.state_dict()
    assert any(
        not torch.equal(tensor, untrained[name])
        for name, tensor in encoder.backbone.state_dict().items()
    )
    _, loading = AutoModelForMaskedLM.from_pretrained(folder / "encoder", output_loading_info=True)
    assert not loading["missing_keys"]
    words = ["encoder=path", f"encoder.name={folder / 'encoder'}", "encoder.max_length=64"]
    done = called("train", *SMALL[1:], *words, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.status == 0, done.err
    assert (tmp_path / "run" / "bundle").is_dir()


def test_tsdae_restores_texts_better_and_better(tmp_path: Path) -> None:
    run = pretrained(tmp_path, "method=tsdae")
    with (run / "metrics.csv").open() as file:
        losses = [float(row["train/texts/loss"] or "nan") for row in csv.DictReader(file)]
    losses = [loss for loss in losses if loss == loss]
    assert sum(losses[-3:]) < 0.95 * sum(losses[:3])
    stored = load_file(run / "encoder" / "model.safetensors")
    untrained = Tiny().load().backbone.state_dict()
    assert stored.keys() == untrained.keys()
    assert any(not tensor.equal(untrained[name]) for name, tensor in stored.items())


@pytest.mark.parametrize("method", ["masked_words", pytest.param("tsdae", marks=pytest.mark.slow)])
def test_a_resumed_run_ends_with_the_same_bytes(
    method: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, words = ChangingSplit.generator, [f"method={method}"]
    whole = folder if method == "masked_words" else pretrained(tmp_path / "whole", *words)

    def fail(split: ChangingSplit, row: int, step: int | None) -> torch.Generator:
        if step == 7:
            raise ArithmeticError
        return generator(split, row, step)

    place = [f"paths.output_dir={tmp_path}", f"hydra.run.dir={tmp_path / 'run'}"]
    with monkeypatch.context() as patch:
        patch.setattr(ChangingSplit, "generator", fail)
        with pytest.raises(ArithmeticError):
            called("pretrain", *FEW, *place, *words)
    refused = called("train", f"resume={tmp_path / 'run'}")
    assert refused.status == 2
    assert "candelabra pretrain started this run, and resumes it" in refused.message
    done = called("pretrain", f"resume={tmp_path / 'run'}")
    assert done.status == 0, done.err
    for name in ("encoder/model.safetensors", "metrics.json"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()


def test_its_page_has_its_method_score_and_command(folder: Path) -> None:
    page = run_page(folder)
    assert page.answer.startswith("Validation: texts accuracy 0.")
    assert not page.warnings
    settings, again = page.sections[-2:]
    assert dict(settings.facts)["method"] == "MaskedWords (mask_probability=0.15)"
    assert not {"pooling", "freeze", "weighting"} & dict(settings.facts).keys()
    assert again.command.startswith("candelabra pretrain encoder=tiny ")


def test_unlabelled_texts_need_no_teacher_here(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": f"a film of {n}"}) + "\n" for n in range(40)))
    run = pretrained(tmp_path, f"tasks.sentiment.unlabelled={file}", "trainer.max_epochs=1")
    record = json.loads((run / "run.json").read_text())
    assert record["teacher_only"] == {"sentiment": 40, "movie": 0}
    before = json.loads((folder / "run.json").read_text())
    assert record["steps_per_epoch"] == before["steps_per_epoch"] + 5


def test_an_experiment_may_name_a_teacher_that_is_trained_later(tmp_path: Path) -> None:
    experiment = tmp_path / "mine" / "experiment" / "taught.yaml"
    experiment.parent.mkdir(parents=True)
    experiment.write_text("# @package _global_\nteacher: later/teacher\ninit_from: later/start\n")
    config_dir = ["--config-dir", str(tmp_path / "mine")]
    pretrained(tmp_path, "experiment=taught", "trainer.max_epochs=1", *config_dir)


def test_a_text_that_is_held_out_is_not_trained_on(tokenizer: TextTokenizer) -> None:
    def of(*texts: str) -> Examples:
        return Examples((list(texts),), [0] * len(texts), None, list(range(len(texts))))

    data: Any = {
        "one": SimpleNamespace(splits={"train": of("a", "b", "a"), "validation": of("c")}),
        "other": SimpleNamespace(splits={"train": of("c", "d"), "validation": of("b", "c")}),
    }
    cfg = OmegaConf.create({"paths": {"cache_dir": None}, "seed": 0})
    unchanged: Any = SimpleNamespace(split=lambda split, *_, **__: split)
    splits = changing_splits(cfg, data, unchanged, tokenizer)
    texts = {name: split.examples.texts for name, split in splits.items()}
    assert texts == {"train": (["a", "d"],), "validation": (["c", "b"],)}
    for task in data.values():
        task.splits["validation"] = of("a", "b", "c", "d")
    with pytest.raises(ConfigError, match="every text of the train splits is in a validation"):
        changing_splits(cfg, data, unchanged, tokenizer)


def test_the_prompt_is_part_of_the_command_that_goes_on(folder: Path, tmp_path: Path) -> None:
    words = ["encoder=path", f"encoder.name={folder / 'encoder'}", "encoder.prompt='query: '"]
    place = f"hydra.run.dir={tmp_path / 'run'}"
    done = called("pretrain", *FEW[1:], "trainer.max_epochs=1", *words, place)
    assert done.status == 0, done.err
    (line,) = (line for line in done.out.splitlines() if "begins with this encoder by: " in line)
    start = shlex.split(line.partition("by: ")[2])
    assert start[-1] == 'encoder.prompt="query: "'
    done = called("train", *SMALL[1:], *start, f"hydra.run.dir={tmp_path / 'next'}")
    assert done.status == 0, done.err
    config = OmegaConf.load(tmp_path / "next" / "config.yaml")
    assert config.encoder.prompt == "query: "


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["pooling=cls"], "pooling has no effect on pretrain, which trains no heads"),
        (["head@tasks.movie.head=crf"], "head@tasks.movie.head has no effect"),
        (["tasks.movie.loss.gamma=1"], "tasks.movie.loss.gamma has no effect"),
        (["teacher=FOLDER"], "teacher has no effect"),
        (["tasks.movie.train=false"], "tasks.movie.train has no effect"),
        (["tasks.movie.loss_weight=2"], "tasks.movie.loss_weight has no effect"),
        (["-m", "seed=1,2"], "pretrain is one run"),
        (["method.mask_probability=1.5"], "method.mask_probability must be"),
        (["method=tsdae", "method.deletion_probability=0"], "method.deletion_probability must be"),
        (["method=autoencoder"], "method has no option 'autoencoder'"),
        (["method=null"], "method takes the name of an option"),
        (["method.mask_probabilty=.1"], "mask_probabilty"),
        (["encoder=path", "encoder.name=nowhere"], "encoder.name=nowhere: no such folder"),
        (["tasks.sentiment.unlabelled=no.jsonl"], "no.jsonl: missing file"),
    ],
)
def test_wrong_input_is_one_message(words: list[str], named: str, tmp_path: Path) -> None:
    done = called("pretrain", "encoder=tiny", *words, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.status == 2
    assert re.search(named, done.message)


def test_a_training_is_not_resumed_by_pretrain(run: Run) -> None:
    done = called("pretrain", f"resume={run.folder}")
    assert done.status == 2
    assert "finished" in done.message


@pytest.mark.slow
@pytest.mark.parametrize("method", ["masked_words", "tsdae"])
def test_two_processes_learn_as_one_does(method: str, tmp_path: Path) -> None:
    found = []
    for trainer in ("cpu", "ddp_cpu"):
        words = [f"method={method}", f"trainer={trainer}", "trainer.precision=32-true"]
        words += ["encoder.dropout=0", "encoder.attention_dropout=0", "trainer.max_epochs=1"]
        place = [f"paths.output_dir={tmp_path}", f"hydra.run.dir={tmp_path / trainer}"]
        done = started("pretrain", *FEW, *place, *words, folder=tmp_path)
        assert done.status == 0, done.err
        found.append(json.loads((tmp_path / trainer / "metrics.json").read_text()))
    assert found[0] == pytest.approx(found[1], rel=1e-4)
