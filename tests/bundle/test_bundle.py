from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

import candelabra
from candelabra.bundle.bundle import Bundle, load, make
from candelabra.bundle.checksums import write_checksums
from candelabra.config.targets import check_targets, conf_dir, trusted_targets
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import BundleError
from candelabra.model.assembly import assemble
from candelabra.model.backbones import Pretrained
from candelabra.model.heads.classification import MlpHead
from candelabra.model.heads.tagging import TaggingHead
from helpers.bundles import LABELS, MOOD, WHO, made
from helpers.command_line import python
from helpers.foreign_heads import OwnHead
from helpers.small_models import KINDS, save_encoder

POOLINGS = sorted(file.stem for file in (conf_dir() / "pooling").glob("*.yaml"))

TEXTS = [
    "what 1995 romantic comedy starred michael douglas?",
    "dull",
    'he said: "it\'s a caf\u00e9", twice; \u6620\u753b too',
    "a film " * 40,
    "good",
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good bundle; not to be changed."""
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    made().save(folder)
    return folder


@pytest.fixture(scope="module")
def bundle(saved: Path) -> Bundle:
    return load(saved)


@pytest.fixture
def copy(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle to spoil, beside which a canary would appear."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved, tmp_path / "bundle")
    return tmp_path / "bundle"


def logits(bundle: Bundle) -> dict[str, torch.Tensor]:
    words = [[(0, len(text.split(" ")[0]))] for text in TEXTS]
    texts = bundle.tokenizer(TEXTS, words)
    from candelabra.data.collate import TokenizedSplit
    from candelabra.records import Examples

    rows = list(range(len(TEXTS)))
    split = TokenizedSplit(Examples((TEXTS,), [[] for _ in rows], words, rows), (texts,), 0)
    batch = split.batch(rows)
    with torch.inference_mode():
        return bundle.model.infer_all(batch.texts[0], batch.first_BW)


@pytest.mark.parametrize("truncation", ["head", "tail", "head_tail"])
def test_round_trip_keeps_every_bit(truncation: str, tmp_path: Path) -> None:
    assert_same(made(truncation=truncation), tmp_path)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_round_trip_of_every_pooling(pooling: str, tmp_path: Path) -> None:
    assert_same(made(pooling), tmp_path)


@pytest.mark.parametrize("own", ["attention", "cls_pooler", "cls"])
def test_round_trip_of_a_tasks_own_pooling(own: str, tmp_path: Path) -> None:
    assert_same(made("max", own), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_of_every_kind_of_encoder(kind: str, tmp_path: Path) -> None:
    bundle = made()
    backbone = Pretrained(name=str(save_encoder(tmp_path / "before", kind)), max_length=16)
    bundle.tokenizer = backbone.tokenizer()
    bundle.model = assemble(
        backbone.load(),
        pooling=bundle.config.pooling,
        tasks=bundle.config.tasks,
        labels=LABELS,
        make=partial(make, allow=()),
    ).eval()
    bundle.save(tmp_path / "bundle")
    after = load(tmp_path / "bundle").model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in bundle.model.state_dict().items())


def assert_same(before: Bundle, folder: Path) -> None:
    before.save(folder / "bundle")
    after = load(folder / "bundle")
    old, new = logits(before), logits(after)
    assert old.keys() == new.keys() == LABELS.keys()
    for task in old:
        assert torch.equal(old[task], new[task])
    assert after.predict(TEXTS) == before.predict(TEXTS)
    assert (after.labels, after.metrics) == (before.labels, before.metrics)
    after.save(folder / "again")
    for name in ("heads.safetensors", "encoder/model.safetensors", "config.json"):
        assert (folder / "again" / name).read_bytes() == (folder / "bundle" / name).read_bytes()


def test_loads_without_lightning_or_hydra(saved: Path, tmp_path: Path) -> None:
    code = (
        "import sys, candelabra\n"
        "model = candelabra.load(sys.argv[1])\n"
        "print(model.predict('a dull film')[0]['mood']['label'])\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = python("-c", code, str(saved), folder=tmp_path)
    assert (done.status, done.err) == (0, "")
    label, modules = done.out.splitlines()
    assert label in LABELS["mood"]
    unwanted = {"hydra", "omegaconf", "pytorch_lightning", "lightning", "datasets", "wandb"}
    assert not unwanted & set(modules.split())


def test_holds_one_copy_of_the_encoder(saved: Path, bundle: Bundle) -> None:
    with safe_open(saved / "heads.safetensors", "pt") as tensors:
        names = set(tensors.keys())
    assert {name.partition(".")[0] for name in names} == {"heads"}
    state = bundle.model.state_dict()
    assert names == {name for name in state if not name.startswith("encoder.")}
    assert len(list(saved.rglob("*.safetensors"))) == 2


def test_transformers_opens_the_encoder(saved: Path, bundle: Bundle) -> None:
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(saved / "encoder", add_pooling_layer=False).eval()
    tokens = AutoTokenizer.from_pretrained(saved / "encoder")("a dull film", return_tensors="pt")
    ours = bundle.model.encoder.backbone
    with torch.inference_mode():
        found, expected = (m(**tokens).last_hidden_state for m in (model, ours))
    torch.testing.assert_close(found, expected)


def test_package_has_load(saved: Path) -> None:
    assert isinstance(candelabra.load(str(saved)), Bundle)


def test_run_folder_stands_for_its_bundle(copy: Path) -> None:
    assert load(copy.parent).labels == LABELS


def test_predicts_one_text_or_many(bundle: Bundle) -> None:
    assert bundle.predict([]) == []
    assert bundle.predict(TEXTS[0]) == bundle.predict([TEXTS[0]])
    assert [answer["text"] for answer in bundle.predict(TEXTS)] == TEXTS
    assert [answer["text"] for answer in bundle.predict(TEXTS[::-1])] == TEXTS[::-1]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (3, "texts must be a text or a sequence of texts, found int: 3"),
        (None, "texts must be a text or a sequence of texts, found NoneType: None"),
        (b"a film", "texts must be a text or a sequence of texts, found bytes: b'a film'"),
        ({"text": "a film"}, "texts must be a text or a sequence of texts, found dict: {'text'"),
        (["a film", 3], "texts must hold nothing but texts, found int at position 1: 3"),
        ([None], "texts must hold nothing but texts, found NoneType at position 0: None"),
    ],
)
def test_what_is_no_text_is_named(texts: Any, message: str, bundle: Bundle) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
        bundle.predict(texts)


def test_any_sequence_of_texts_is_answered(bundle: Bundle) -> None:
    expected = bundle.predict(TEXTS)
    assert bundle.predict(tuple(TEXTS)) == expected
    assert bundle.predict(np.array(TEXTS)) == expected
    assert bundle.predict(text for text in TEXTS) == expected


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_batch_size_has_no_influence_beyond_rounding(bundle: Bundle, batch_size: int) -> None:
    assert_close(bundle.predict(TEXTS, batch_size=batch_size), bundle.predict(TEXTS))


def assert_close(found: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a["mood"]["probabilities"] == pytest.approx(b["mood"]["probabilities"], abs=1e-5)
        assert [(s["type"], s["start"], s["end"]) for s in a["who"]] == [
            (s["type"], s["start"], s["end"]) for s in b["who"]
        ]


def test_half_precision_answers_too(bundle: Bundle) -> None:
    for answer in bundle.predict(TEXTS, precision="bf16-mixed"):
        assert sum(answer["mood"]["probabilities"].values()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("text", ["", " ", "\n", "\u200b", "\x00", "!?", "a\u0301"])
def test_odd_texts_are_answered(bundle: Bundle, text: str) -> None:
    (answer,) = bundle.predict(text)
    assert answer["mood"]["label"] in LABELS["mood"]
    assert all(text[s["start"] : s["end"]] == s["text"] for s in answer["who"])


def test_spans_are_characters_of_the_text() -> None:
    tagged = made()
    head = tagged.model.head("who")
    assert isinstance(head, TaggingHead)
    # Every word becomes B-Actor, whatever it is.
    linear = next(m for m in head.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.copy_(torch.tensor([0.0, 9.0, 0.0, 0.0]))
    text = 'he said: "caf\u00e9", twice'
    (answer,) = tagged.predict(text)
    spans = answer["who"]
    words = ["he", "said", ":", '"', "caf\u00e9", '"', ",", "twice"]
    assert [span["text"] for span in spans] == words
    assert all(text[span["start"] : span["end"]] == span["text"] for span in spans)
    assert {span["type"] for span in spans} == {"Actor"}
    assert all(0.99 < span["score"] <= 1 for span in spans)


def test_allow_lets_a_users_own_head_through(copy: Path) -> None:
    name = "helpers.foreign_heads.OwnHead"
    config = json.loads((copy / "config.json").read_text())
    config["tasks"]["mood"]["head"]["_target_"] = name
    (copy / "config.json").write_text(json.dumps(config))
    write_checksums(copy)
    with pytest.raises(BundleError, match=rf'add "allow=\[{name}\]"'):
        load(copy)
    assert isinstance(load(copy, allow=[name]).model.head("mood"), OwnHead)


TRUSTED = ("candelabra.", "pytorch_lightning.", "datetime.timedelta")


def test_every_shipped_target_is_trusted() -> None:
    assert {node["_target_"] for node in (MOOD, WHO)} < trusted_targets()
    assert f"candelabra.model.heads.{MlpHead.__name__}" in trusted_targets()
    assert all(name.startswith(TRUSTED) for name in trusted_targets())


# Settings of Hydra itself are no part of a run's configuration.
NODES = set(conf_dir().rglob("*.yaml")) - set((conf_dir() / "hydra").rglob("*.yaml"))


@pytest.mark.parametrize("file", sorted(NODES), ids=lambda file: file.stem)
def test_every_shipped_node_is_trusted_in_its_place(file: Path) -> None:
    group = file.relative_to(conf_dir()).parts[0]
    text = "\n".join(line for line in file.read_text().splitlines() if "${" not in line)
    check_targets(yaml.safe_load(text), keys=(group,))


def test_tokenizer_is_kept(saved: Path, bundle: Bundle) -> None:
    assert isinstance(bundle.tokenizer, TextTokenizer)
    assert (bundle.tokenizer.max_length, bundle.tokenizer.truncation) == (32, "head")
    assert bundle.tokenizer.fingerprint() == made().tokenizer.fingerprint()


@pytest.mark.parametrize("truncation", ["head", "tail", "head_tail"])
def test_words_that_cannot_be_read_cost_nothing(
    truncation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be part of no answer."""
    text = "a film with Michael Douglas " * 100
    bundle = made(truncation=truncation)
    whole = bundle.predict(text)
    monkeypatch.setattr("candelabra.data.tokens.FEW_CHARACTERS", 8)
    monkeypatch.setattr("candelabra.data.tokens.MANY_CHARACTERS", 32)
    parts = bundle.tokenizer.readable(text)
    assert sum(end - begin for begin, end in parts) < len(text)
    assert bundle.predict(text) == whole
