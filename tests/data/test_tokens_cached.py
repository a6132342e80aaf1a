from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from candelabra.data.token_cache import tokenize_cached
from candelabra.data.tokens import TextTokenizer
from candelabra.model.encoder_files import package_folder
from candelabra.records import Examples
from helpers.ended import ended_process
from helpers.toys import BUNDLED, same_tokens, sentences, tagged

FOLDER = package_folder(BUNDLED.removeprefix("package:"))
BERT = AutoTokenizer.from_pretrained(FOLDER)
LONG = 512
WIDE = TextTokenizer(BERT, max_length=LONG)


@pytest.mark.parametrize(
    "examples",
    [sentences(["a film", "so it is"], [0, 1]), tagged([(["a", "film"], [1, 1]), (["so"], [1])])],
    ids=["texts", "words"],
)
def test_the_cache_gives_the_same_arrays(
    examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made,) = tokenize_cached(examples, WIDE, fingerprint="x", cache_dir=tmp_path / "new")
    monkeypatch.setattr(TextTokenizer, "_pieces", _never)
    (found,) = tokenize_cached(examples, WIDE, fingerprint="x", cache_dir=tmp_path / "new")
    assert same_tokens(made, found)
    assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".safetensors"]


def _never(*args: object, **kwargs: object) -> None:
    raise AssertionError("tokenised again")


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tokenize_cached(sentences(["a film"], [0]), WIDE, fingerprint="x", cache_dir=None)
    assert not list(tmp_path.iterdir())


def test_the_key_follows_content_and_settings(tmp_path: Path) -> None:
    settings = [
        ("x", WIDE),
        ("y", WIDE),
        ("x", TextTokenizer(BERT, max_length=LONG - 1)),
        ("x", TextTokenizer(BERT, max_length=LONG, truncation="tail")),
    ]
    for number, (fingerprint, tokenizer) in enumerate(settings, start=1):
        for _ in range(2):
            texts = sentences(["a film"], [0])
            tokenize_cached(texts, tokenizer, fingerprint=fingerprint, cache_dir=tmp_path)
        assert len(list(tmp_path.iterdir())) == number


def test_the_fingerprint_is_stable() -> None:
    """Calls change the truncation and padding that a tokenizer's file holds."""
    fresh = AutoTokenizer.from_pretrained(FOLDER)
    tokenizer = TextTokenizer(fresh, max_length=LONG)
    before = tokenizer.fingerprint()
    tokenizer(["a film"])
    assert before == tokenizer.fingerprint() == WIDE.fingerprint()


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-5]),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"\x00" * 100),
        lambda file: _other_arrays(file),
        lambda file: _reversed_ids(file),
        lambda file: file.write_bytes(bytes([*file.read_bytes()[:-1], 1])),
        lambda file: (file.unlink(), os.mkfifo(file)),
    ],
    ids=["cut", "empty", "zeros", "other arrays", "reversed ids", "one byte", "pipe"],
)
def test_a_damaged_cache_is_made_again(
    damage: Callable[[Path], object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = sentences(["a film", "so it is"], [0, 1])
    (made,) = tokenize_cached(texts, WIDE, fingerprint="x", cache_dir=tmp_path)
    (file,) = tmp_path.iterdir()
    damage(file)
    with caplog.at_level(logging.WARNING):
        (again,) = tokenize_cached(texts, WIDE, fingerprint="x", cache_dir=tmp_path)
    assert same_tokens(made, again)
    assert str(file) in caplog.text
    assert "damaged" in caplog.text
    caplog.clear()
    tokenize_cached(texts, WIDE, fingerprint="x", cache_dir=tmp_path)
    assert not caplog.text


def test_a_folder_in_place_of_the_cache_is_said_at_every_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = sentences(["a film", "so it is"], [0, 1])
    (made,) = tokenize_cached(texts, WIDE, fingerprint="x", cache_dir=tmp_path)
    (file,) = tmp_path.iterdir()
    file.unlink()
    file.mkdir()
    for _ in range(2):
        (again,) = tokenize_cached(texts, WIDE, fingerprint="x", cache_dir=tmp_path)
        assert same_tokens(made, again)
        assert f"token cache {file} is damaged (it is no file)" in caplog.text
    assert list(tmp_path.iterdir()) == [file]


def _reversed_ids(file: Path) -> None:
    """With the metadata of the right ones."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(file, "numpy") as stored:
        metadata = stored.metadata()
    arrays = load_file(file)
    save_file({**arrays, "ids": arrays["ids"][::-1].copy()}, file, metadata=metadata)


def _other_arrays(file: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"ids": np.zeros(1)}, file)


def test_drafts_of_killed_processes_are_removed(tmp_path: Path) -> None:
    dead, key = ended_process(), "0a" * 16
    drafts = {f".{key}-0.safetensors.{dead}.tmp", f".{key}-cross.safetensors.{dead}.tmp"}
    others = {f".{key}-0.safetensors.{os.getppid()}.tmp", f".own.safetensors.{dead}.tmp"}
    for name in drafts | others:
        (tmp_path / name).write_bytes(b"half")
    tokenize_cached(sentences(["a film"], [0]), WIDE, fingerprint="x", cache_dir=tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == others
