"""A run that starts from a fine-tuned checkpoint; transformers itself is the reference."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from candelabra.bundle.bundle import load
from candelabra.model.backbones import Tiny
from helpers.command_line import SMALL, Done, called
from helpers.small_models import small_config

SIDES = ["POSITIVE", "NEGATIVE"]
"""In another order than the task's, which is alphabetical."""
TEXTS = ["a heist that goes wrong", "Dull."]
FEW = [word for word in SMALL if not word.startswith("encoder=")]


def saved(folder: Path, kind: str, labels: list[str], *, words: bool = False) -> Path:
    """A checkpoint with random weights, those of its head included."""
    tokenizer = Tiny().tokenizer().tokenizer
    sizes = {"vocab_size": len(tokenizer), "num_hidden_layers": 1, "max_position_embeddings": 512}
    config = small_config(kind, **sizes, pad_token_id=0, id2label=dict(enumerate(labels)))
    opener = AutoModelForTokenClassification if words else AutoModelForSequenceClassification
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = opener.from_config(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def trained(folder: Path, run: Path, *words: str) -> Done:
    """A training whose rate is so small that the weights stay."""
    start = [f"encoder.name={folder}", f"init_from={folder}", f"hydra.run.dir={run}"]
    rate = ["optimizer.lr=1e-12", "encoder.max_length=32"]
    return called("train", "encoder=path", *start, *rate, *FEW, *words)


TEXT_TASK = ["tasks=none", "+task@tasks.t=sample_reviews"]
MLP = ["pooling=cls", "head@tasks.t.head=mlp", "init_heads=[t]"]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_texts_get_the_probabilities_of_transformers(kind: str, tmp_path: Path) -> None:
    folder, run = saved(tmp_path / "model", kind, SIDES), tmp_path / "run"
    done = trained(folder, run, *TEXT_TASK, *MLP)
    assert done.status == 0, done.err
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for answer in load(run / "bundle").predict(TEXTS):
        inputs = tokenizer(answer["text"], return_tensors="pt")
        right = theirs(**inputs).logits[0].softmax(-1).tolist()
        assert answer["t"]["probabilities"] == pytest.approx(
            dict(zip(SIDES, right, strict=True)), abs=1e-5
        )


@pytest.mark.parametrize(
    "kind", ["bert", "roberta", pytest.param("distilbert", marks=pytest.mark.slow)]
)
def test_words_get_the_logits_of_transformers(kind: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    task = ["tasks=none", "+task@tasks.t=sample_questions"]
    first = called("train", "encoder=tiny", *task, *FEW, f"hydra.run.dir={tmp_path / 'first'}")
    assert first.status == 0, first.err
    labels = json.loads((tmp_path / "first" / "bundle" / "labels.json").read_text())["t"]
    folder = saved(tmp_path / "model", kind, labels[::-1], words=True)
    done = trained(folder, run, *task, "init_heads=[t]")
    assert done.status == 0, done.err
    head = load(run / "bundle").model.head("t").linears()[0]
    theirs = AutoModelForTokenClassification.from_pretrained(folder).classifier
    assert torch.allclose(head.weight, theirs.weight.flip(0), atol=1e-6)
    assert torch.allclose(head.bias, theirs.bias.flip(0), atol=1e-6)


def test_without_demand_the_encoder_alone_is_taken(tmp_path: Path) -> None:
    folder, run = saved(tmp_path / "model", "bert", ["a", "b", "c"]), tmp_path / "run"
    done = trained(folder, run, *TEXT_TASK)
    assert done.status == 0, done.err
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).bert.state_dict()
    ours = load(run / "bundle").model.encoder.backbone.state_dict()
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-6) for key in ours)


def test_a_checkpoint_without_the_weights_of_its_head_is_refused(tmp_path: Path) -> None:
    """Transformers would draw them at random."""
    folder = saved(tmp_path / "model", "bert", SIDES)
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    done = trained(folder, tmp_path / "run", *TEXT_TASK, *MLP)
    assert done.status == 2
    assert f"init_from={folder}: model.safetensors lacks classifier.weight" in done.err


@pytest.mark.parametrize(
    ("kind", "labels", "words", "said"),
    [
        ("bert", ["LABEL_0", "LABEL_1"], MLP, "its labels are LABEL_0, LABEL_1"),
        ("bert", SIDES, ["pooling=cls", "init_heads=[t]"], "is that of head@tasks.t.head=mlp"),
        ("bert", SIDES, ["pooling=mean", *MLP[1:]], "reads the first token, as pooling=cls does"),
        ("distilbert", SIDES, MLP, "heads of DistilBertForSequenceClassification have other"),
        ("bert", SIDES, ["init_heads=[s]"], r"init_heads must name tasks of the run \(t\)"),
        ("bert", SIDES, ["init_heads=[t,s]"], "init_heads must name one task at most"),
    ],
)
def test_what_does_not_fit_is_named(
    kind: str, labels: list[str], words: list[str], said: str, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "model", kind, labels)
    done = trained(folder, tmp_path / "run", *TEXT_TASK, *words)
    assert done.status == 2
    assert re.search(said, done.err), done.err
