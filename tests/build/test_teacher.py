"""The answers of teachers, and their cache."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from candelabra.build import soft_answers
from candelabra.build.soft_answers import cached_answers
from candelabra.build.teacher import check_head
from candelabra.bundle.bundle import load
from candelabra.data.collate import TokenizedSplit
from candelabra.data.token_cache import tokenize_cached, write_arrays
from candelabra.data.tokens import TextTokenizer
from candelabra.data.waiting_lock import waiting_lock
from candelabra.errors import ConfigError
from candelabra.model.backbones import Tiny
from candelabra.model.heads.regression import RegressionHead
from candelabra.records import Examples
from candelabra.training.teaching import SoftAnswers
from helpers.bundles import LABELS, made
from helpers.small_models import small_model
from helpers.toys import toy_sentences, toy_tags

TEXTS = {"mood": toy_sentences(9, 1), "who": toy_tags(7, 1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("teacher") / "bundle"
    made().save(place)
    return place


def answers(
    folder: Path,
    task: str,
    cache: Path | None,
    *,
    examples: Examples | None = None,
    labels: list[str] | None = None,
    rows: str = "a",
    precision: str = "32-true",
) -> SoftAnswers:
    return cached_answers(
        folder,
        task,
        examples or TEXTS[task],
        labels or LABELS[task],
        fingerprint=rows,
        cache_dir=cache,
        precision=precision,
        device="cpu",
    )


def tokenized(examples: Examples, tokenizer: TextTokenizer) -> TokenizedSplit:
    tokens = tokenize_cached(examples, tokenizer, fingerprint="", cache_dir=None, cross=False)
    return TokenizedSplit(examples, tokens, tokenizer.pad_id)


def equal(one: SoftAnswers, other: SoftAnswers) -> bool:
    starts = (one.starts_N, other.starts_N)
    same = starts == (None, None) or torch.equal(*starts)  # type: ignore[arg-type]
    return same and torch.equal(one.logits, other.logits)


@pytest.mark.parametrize("task", TEXTS)
def test_answers_are_those_of_the_model_one_text_at_a_time(folder: Path, task: str) -> None:
    found, bundle = answers(folder, task, None), load(folder)
    for place, text in enumerate(TEXTS[task].texts[0]):
        if found.starts_N is None:
            (told,) = bundle.predict([text])
            probabilities = told[task]["probabilities"]
            expected = torch.tensor([probabilities[label] for label in LABELS[task]])
            ours = found.logits[place].float().softmax(-1)
            torch.testing.assert_close(ours, expected, atol=2e-3, rtol=0)
        else:
            begin, end = found.starts_N[place], found.starts_N[place + 1]
            alone = tokenized(TEXTS[task].take([place]), bundle.tokenizer)
            with torch.no_grad():
                (expected_WC,) = bundle.model.forward_task(task, alone.batch([0]))
            ours_WC = found.logits[begin:end].float()
            torch.testing.assert_close(ours_WC, expected_WC, atol=2e-3, rtol=2e-3)


def test_words_that_the_teacher_does_not_read_have_no_answer(folder: Path, tmp_path: Path) -> None:
    # The bundle reads 32 tokens at most.
    texts = ["who is", "film " * 60, "in 1999"]
    words = [[found.span() for found in re.finditer(r"\w+", text)] for text in texts]
    long = replace(TEXTS["who"].take([0, 1, 2]), texts=(texts,), words=words)
    tokenizer = load(folder).tokenizer
    first_BW = tokenized(long, tokenizer).batch([0, 1, 2]).first_BW
    assert first_BW is not None
    inside = [first_W[: len(each)] for first_W, each in zip(first_BW, words, strict=True)]
    unread = torch.cat(inside) < 0
    assert 0 < unread.sum() < 60
    for cache in (None, tmp_path, tmp_path):
        found = answers(folder, "who", cache, examples=long)
        assert torch.equal(found.logits.isnan().all(dim=-1), unread)
        assert torch.equal(found.logits.isnan().any(dim=-1), unread)


@pytest.mark.parametrize("task", TEXTS)
def test_the_cache_gives_what_is_computed_afresh(folder: Path, tmp_path: Path, task: str) -> None:
    afresh = answers(folder, task, None)
    assert equal(answers(folder, task, tmp_path), afresh)
    (file,) = tmp_path.iterdir()
    assert equal(answers(folder, task, tmp_path), afresh)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert equal(answers(folder, task, tmp_path), afresh)
    assert file.read_bytes() == whole


def test_answers_from_the_cache_are_said_to_be_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = len(answers(folder, "mood", tmp_path).logits)
    assert "from the cache" not in capsys.readouterr().out
    answers(folder, "mood", tmp_path)
    assert f"answers of the teacher of mood: {first} from the cache" in capsys.readouterr().out


def test_nothing_is_computed_twice(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(folder, "mood", tmp_path)
    monkeypatch.setattr(soft_answers, "load", lambda *_, **__: pytest.fail("loaded again"))
    answers(folder, "mood", tmp_path)


def test_two_processes_compute_the_answers_once(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from build.test_teacher import *; "
        "found = answers(Path(sys.argv[1]), 'mood', Path(sys.argv[2])); "
        "print(found.logits.sum().item())"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    first = answers(folder, "mood", tmp_path)
    (file,) = tmp_path.iterdir()
    stored = file.read_bytes()
    file.unlink()
    held = ExitStack()
    held.enter_context(waiting_lock(tmp_path / f".{file.name}.lock", "answers"))
    with held, subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert "waiting for it" in other.stdout.readline()
        # Other answers than its own show which ones it took.
        write_arrays(file, {"logits": np.full((9, 2), 0.5, np.float16)})
        held.close()
        assert other.stdout.read().strip().endswith("9.0")
    assert other.returncode == 0
    assert first.logits.sum() != 9.0
    assert file.read_bytes() != stored


def test_answers_that_another_process_has_just_finished_are_taken(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = answers(folder, "mood", tmp_path)
    (file,) = tmp_path.iterdir()
    stored = file.read_bytes()
    file.unlink()

    @contextmanager
    def finished_before(path: Path, what: str) -> Iterator[None]:
        file.write_bytes(stored)
        yield

    monkeypatch.setattr(soft_answers, "waiting_lock", finished_before)
    monkeypatch.setattr(soft_answers, "load", lambda *_, **__: pytest.fail("computed again"))
    assert equal(answers(folder, "mood", tmp_path), whole)


@pytest.mark.parametrize("task", TEXTS)
@pytest.mark.parametrize("ended", [KeyboardInterrupt, SystemExit, MemoryError])
def test_interrupted_answers_go_on_where_they_were(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    task: str,
    ended: type[BaseException],
) -> None:
    monkeypatch.setattr(soft_answers, "BATCH_SIZE", 2)
    # An interruption writes the answers; an error leaves those that were written before.
    between = 0.0 if ended is MemoryError else 1000.0
    monkeypatch.setattr(soft_answers, "SECONDS_BETWEEN_DRAFTS", between)
    whole, compute, calls = answers(folder, task, None), soft_answers._logits, []

    def interrupted_once(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 3:
            raise ended
        return compute(*given)

    monkeypatch.setattr(soft_answers, "_logits", interrupted_once)
    with pytest.raises(ended):
        answers(folder, task, tmp_path)
    hint = "4 answers of the teacher are kept for the next run with it"
    assert (hint in capsys.readouterr().out) == (ended is not MemoryError)
    (draft,) = tmp_path.iterdir()
    damaged = tmp_path / "other" / draft.name
    damaged.parent.mkdir()
    damaged.write_bytes(draft.read_bytes()[:-1])
    assert equal(answers(folder, task, damaged.parent), whole)
    calls.clear()
    calls.extend([()] * 3)
    assert equal(answers(folder, task, tmp_path), whole)
    num_batches = -(-len(TEXTS[task]) // 2)
    assert len(calls) - 3 == num_batches - 2, "two batches were written"
    assert not list(tmp_path.glob("**/*unfinished*"))


def test_other_rows_labels_precision_and_teachers_are_answered_afresh(
    folder: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    answers(folder, "mood", cache)
    answers(folder, "mood", cache, rows="b")
    other = replace(made(), metrics={"val/score": 0.25})
    other.save(tmp_path / "other")
    answers(tmp_path / "other", "mood", cache)
    answers(folder, "mood", cache, labels=LABELS["mood"][::-1])
    answers(folder, "mood", cache, precision="bf16-mixed")
    assert len(list(cache.iterdir())) == 5


def test_numbers_are_not_rounded_to_half_precision() -> None:
    model = small_model({"year": RegressionHead}, Tiny(max_length=32, width=16).load())
    (linear,) = model.head("year").linears()
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.fill_(70001.0)
    bundle = made()
    config = replace(bundle.config, tasks={"year": {}})
    bundle = replace(bundle, model=model.eval(), labels={"year": []}, config=config)
    found = soft_answers.soft_answers(bundle, "year", TEXTS["mood"], [], precision="32-true")
    assert found.logits.tolist() == [70001.0] * len(TEXTS["mood"])


def test_labels_may_have_another_order(folder: Path) -> None:
    # Unlike a reversal, a rotation is not its own inverse.
    turned = [*LABELS["who"][1:], LABELS["who"][0]]
    found, plain = answers(folder, "who", None, labels=turned), answers(folder, "who", None)
    assert torch.equal(found.logits, plain.logits.roll(-1, dims=-1))


def test_a_full_disk_costs_the_cache_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soft_answers, "write_arrays", full)
    assert equal(answers(folder, "mood", tmp_path), answers(folder, "mood", None))


def test_heads_of_another_kind_are_refused(folder: Path) -> None:
    check_head("mood", folder, "mood", kind="classification", num_texts=1)
    with pytest.raises(ConfigError, match=r"tasks.mood: .* teaches classification.*regression;"):
        check_head("mood", folder, "mood", kind="regression", num_texts=1)


def test_another_number_of_texts_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"reads 1 text at a time, .* the task has 2 texts"):
        check_head("mood", folder, "mood", kind="classification", num_texts=2)
