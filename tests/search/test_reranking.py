"""Cross-encoders: both texts in one sequence, against the tokenizer and the model themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import processors

import candelabra
from candelabra.build.schedule import tokenize_tasks
from candelabra.bundle.bundle import Bundle
from candelabra.data.loading import TaskData
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError
from candelabra.model.backbones import Tiny
from candelabra.records import Examples
from candelabra.search.reranking import cross_encoder
from helpers.bundles import LABELS, made
from helpers.command_line import SMALL, called
from helpers.stand_ins import small_tokenizer, write_data

TEXTS = ["a dull film", "great", "what 1995 romantic comedy starred michael douglas " * 4]
QUERY = "who is in the film"


def test_pairs_are_those_of_the_tokenizer() -> None:
    raw = Tiny(max_length=32).tokenizer().tokenizer
    ours = TextTokenizer(raw, max_length=32)
    for first, second in (([QUERY] * 3, TEXTS), (TEXTS, [QUERY] * 3), (TEXTS, TEXTS)):
        right = raw(first, second, max_length=32, truncation="longest_first")
        found = ours.pairs(first, second)
        for row in range(3):
            ids, types = right["input_ids"][row], right["token_type_ids"][row]
            assert len(found.text(row)) == len(ids)
            if (
                len(ids) < 32
            ):  # where both texts are too long the library cuts one token more or less
                assert found.text(row).tolist() == ids
                assert found.second[row] == types.index(1)


def test_two_marks_between_texts_as_roberta_has_them() -> None:
    raw = small_tokenizer("roberta")
    marks = [(mark, raw.convert_tokens_to_ids(mark)) for mark in ("</s>", "<s>")]
    raw.backend_tokenizer.post_processor = processors.RobertaProcessing(*marks)
    found = TextTokenizer(raw, max_length=20).pairs(["great film"], ["dull"])
    assert found.text(0).tolist() == raw("great film", "dull")["input_ids"]
    assert raw.convert_ids_to_tokens(found.text(0))[3:5] == ["</s>", "</s>"]


@pytest.mark.parametrize("pair", ["$A $B", "<s> $A $B:1 </s>:1"])
def test_texts_without_a_mark_between_them_are_no_pair(pair: str) -> None:
    raw = small_tokenizer("roberta")
    marks = [(mark, raw.convert_tokens_to_ids(mark)) for mark in ("<s>", "</s>")]
    template = processors.TemplateProcessing(single="$A", pair=pair, special_tokens=marks)
    raw.backend_tokenizer.post_processor = template
    tokenizer = TextTokenizer(raw, max_length=20)
    with pytest.raises(ValueError, match=r"cross: true needs a tokenizer that puts .* got \w+"):
        tokenizer.pairs(["great film"], ["dull"])
    rows = Examples((["great film"], ["dull"]), [0.5], None, [0])
    data = {"sts": TaskData({"test": rows}, [], {}, {"test": "x"})}
    with pytest.raises(ConfigError, match=r"tasks\.sts: cross: true needs a tokenizer"):
        tokenize_tasks(data, tokenizer, None, nodes={"sts": {"cross": True}})


def test_a_pair_too_long_keeps_the_shorter_text() -> None:
    tokenizer = Tiny(max_length=16).tokenizer()
    found = tokenizer.pairs(["the film"], ["a " * 30])
    text = tokenizer.tokenizer.decode(found.text(0))
    assert text == "[CLS] the film [SEP] " + "a " * 11 + "[SEP]"
    both = tokenizer.pairs(["film " * 30], ["a " * 30])
    assert both.lengths.tolist() == [16]
    assert both.second[0] == 1 + 7 + 1


@pytest.fixture
def bundle() -> Bundle:
    """A bundle whose first task reads pairs in one sequence."""
    bundle = made("cls")
    tasks = {**bundle.config.tasks}
    tasks["mood"] = {**tasks["mood"], "cross": True}
    return replace(bundle, config=replace(bundle.config, tasks=tasks))


def test_scores_are_those_of_the_model(bundle: Bundle) -> None:
    found = cross_encoder(bundle, name="it")(QUERY, TEXTS)
    model, raw = bundle.model, bundle.tokenizer.tokenizer
    for text, score in zip(TEXTS[:2], found, strict=False):
        inputs = raw(QUERY, text, return_tensors="pt")
        with torch.no_grad():
            hidden_1LD = model.encoder.backbone(**inputs).last_hidden_state
            logits = model.head("mood").classifier(hidden_1LD[:, 0])
        assert score == pytest.approx(float(logits.softmax(-1)[0, 1]), abs=1e-6)


def test_batches_change_nothing(bundle: Bundle) -> None:
    whole = cross_encoder(bundle, name="it")
    np.testing.assert_allclose(
        replace(whole, batch_size=1)(QUERY, TEXTS), whole(QUERY, TEXTS), atol=1e-6
    )
    assert whole(QUERY, []) == []


def test_what_cannot_rerank_says_so(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="it: none of its tasks is a cross-encoder"):
        cross_encoder(made(), name="it")
    with pytest.raises(ConfigError, match="task must be one of mood, got 'moods'; did you mean"):
        cross_encoder(bundle, name="it", task="moods")
    three = replace(bundle, labels={**LABELS, "mood": ["a", "b", "c"]})
    with pytest.raises(ConfigError, match="one of two labels; mood has 3: a, b, c"):
        cross_encoder(three, name="it")
    two = {name: {**node, "cross": True} for name, node in bundle.config.tasks.items()}
    several = replace(bundle, config=replace(bundle.config, tasks=two))
    with pytest.raises(ConfigError, match="it: several cross-encoders, mood, who: name one"):
        cross_encoder(several, name="it")


def test_trained_reloaded_and_used_by_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_data(tmp_path / "data")
    words = ["tasks=stsb_cross", f"data_dir={data}", "hydra.run.dir=cross"]
    trained = called("train", *SMALL, *words)
    assert trained.status == 0, trained.err
    model = candelabra.load("cross")
    with pytest.raises(ConfigError, match=r"none of the tasks \(sts\) predicts for single"):
        model.predict("a film")
    alone = called("embed", "bundle=cross", "text=a film")
    assert alone.message.startswith("bundle=cross: tasks.sts is a cross-encoder, which has no")
    scores = cross_encoder(model, name="it")(QUERY, TEXTS)
    (tmp_path / "corpus.txt").write_text("\n".join(TEXTS))
    done = called(
        "search",
        "encoder=tiny",
        "corpus=corpus.txt",
        f"text={QUERY}",
        "rerank=cross",
        "format=json",
        "precision=32-true",
    )
    assert done.status == 0, done.err
    hits = json.loads(done.out)["hits"]
    order = np.argsort(-np.array(scores))
    assert [hit["row"] for hit in hits] == order.tolist()
    assert [hit["score"] for hit in hits] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)


def test_crossing_needs_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = called("train", *SMALL, "tasks.sentiment.cross=true")
    assert done.status == 2
    assert done.message.startswith(
        "tasks.sentiment.cross puts two texts into one sequence: columns"
    )
    wrong = called("search", "encoder=tiny", "corpus=x.txt", "text=a", "rerank=nope")
    assert wrong.message == "rerank=nope: no such folder"
