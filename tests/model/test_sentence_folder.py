"""A folder saved by SentenceTransformer gives its own vectors; that library is the reference."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize
from sentence_transformers.sentence_transformer.modules import CNN, Pooling

from candelabra.bundle.bundle import load
from helpers.command_line import SMALL, called, started
from helpers.sentence_folders import WIDTH, kinds, made_old, made_oldest, saved

TEXTS = [
    "a heist that goes wrong",
    "what 1995 romantic comedy starred michael douglas and annette bening",
    "Dull.",
]
LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "version 6": lambda folder: folder,
    "versions 2 to 5": made_old,
    "version 1": made_oldest,
}


def reference(folder: Path) -> np.ndarray:
    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS, show_progress_bar=False)


def embedded(folder: Path, *overrides: str) -> tuple[np.ndarray, str]:
    """The vectors that the command writes, and what it reports."""
    texts, target = folder / "texts.txt", folder / "vectors.npy"
    texts.write_text("\n".join(TEXTS) + "\n")
    words = ["encoder=path", f"encoder.name={folder}", f"input={texts}", f"output={target}"]
    done = called("embed", *words, "precision=32-true", *overrides)
    assert done.status == 0, done.err
    return np.load(target), done.err


CASES = [("version 6", kind) for kind in kinds()]
CASES += [
    (layout, kind)
    for layout in ("versions 2 to 5", "version 1")
    for kind in ("max", "normalize", "several poolings", "two dense", "layer norm and dropout")
]


@pytest.mark.parametrize(("layout", "kind"), CASES)
def test_vectors_are_those_of_sentence_transformers(kind: str, layout: str, tmp_path: Path) -> None:
    folder = LAYOUTS[layout](saved(tmp_path / "model", *kinds()[kind]))
    found, _ = embedded(folder)
    np.testing.assert_allclose(found, reference(folder), atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_length_is_taken(layout: str, tmp_path: Path) -> None:
    folder = LAYOUTS[layout](saved(tmp_path / "model", Pooling(WIDTH), length=6))
    found, err = embedded(folder)
    np.testing.assert_allclose(found, reference(folder), atol=1e-5)
    assert "encoder.max_length 6" in err
    longer, err = embedded(folder, "encoder.max_length=64")
    assert np.abs(longer - found).max() > 1e-3
    assert "max_seq_length is 6 there; encoder.max_length=64 wins" in err


def test_its_default_prompt_is_put_before_each_text(tmp_path: Path) -> None:
    prompts = {"query": "find: ", "other": "say: "}
    folder = saved(tmp_path / "model", Pooling(WIDTH), prompts=prompts, default_prompt_name="query")
    found, err = embedded(folder)
    np.testing.assert_allclose(found, reference(folder), atol=1e-5)
    assert "encoder.prompt 'find: '" in err
    assert "prompts that only encoder.prompt= applies: other ('say: ')" in err
    model = SentenceTransformer(str(folder), device="cpu")
    for prompt in ("", "say: "):
        found, err = embedded(folder, f"encoder.prompt='{prompt}'")
        right = model.encode(TEXTS, prompt=prompt, show_progress_bar=False)
        np.testing.assert_allclose(found, right, atol=1e-5)
        assert f"encoder.prompt='{prompt}' wins" in err


def test_lower_case_of_the_folder_is_kept(tmp_path: Path) -> None:
    folder = made_old(saved(tmp_path / "model", Pooling(WIDTH)))
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["normalizer"]["lowercase"] = False
    file.write_text(json.dumps(tokenizer))
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "do_lower_case": False}))
    cased = embedded(folder)[0]
    file = folder / "sentence_bert_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "do_lower_case": True}))
    found = embedded(folder)[0]
    np.testing.assert_allclose(found, reference(folder), atol=1e-5)
    assert np.abs(found - cased).max() > 1e-3


def test_an_option_wins_and_is_reported(tmp_path: Path) -> None:
    parts = [Pooling(WIDTH, pooling_mode="cls"), Dense(WIDTH, 16), Normalize()]
    folder = saved(tmp_path / "model", *parts)
    found, err = embedded(folder, "pooling=max", "normalize=false")
    right = saved(tmp_path / "other", Pooling(WIDTH, pooling_mode="max"))
    np.testing.assert_allclose(found, reference(right), atol=1e-5)
    assert "it pools by cls > dense; pooling maximum wins" in err
    assert "normalize is True there; normalize=False wins" in err


def test_what_cannot_be_kept_is_refused_by_name(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", Pooling(WIDTH))
    file = folder / "modules.json"
    rows = json.loads(file.read_text())

    def said(kind: str) -> str:
        file.write_text(json.dumps([*rows, {"path": "2_It", "type": kind}]))
        done = called("embed", "encoder=path", f"encoder.name={folder}", "text=a")
        assert done.status == 2
        return done.err

    assert CNN.__name__ in said(f"{CNN.__module__}.CNN")
    assert "own.code.Rotate, which is code of its own" in said("own.code.Rotate")
    assert "pooling=NAME takes its encoder alone" in said("sentence_transformers.models.LSTM")
    assert embedded(folder, "pooling=mean", "normalize=false")[0].shape == (3, WIDTH)


def test_a_pooling_without_settings_is_not_guessed(tmp_path: Path) -> None:
    """As after a download of the folder without its sub-folders."""
    folder = saved(tmp_path / "model", Pooling(WIDTH, "max"))
    shutil.rmtree(folder / "1_Pooling")
    done = called("embed", "encoder=path", f"encoder.name={folder}", "text=a")
    assert done.status == 2
    assert "1_Pooling/config.json: missing or empty, so the pooling is unknown" in done.err
    assert embedded(folder, "pooling=max", "normalize=false")[0].shape == (3, WIDTH)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", Pooling(WIDTH), Dense(WIDTH, 16))
    weights = folder / "2_Dense" / "model.safetensors"
    for file, text in {
        weights: "nothing",
        folder / "2_Dense" / "config.json": '{"out_features": "16"}',
        folder / "1_Pooling" / "config.json": '{"pooling_mode": "median"}',
        folder / "modules.json": "[{]",
    }.items():
        before = file.read_bytes()
        file.write_text(text)
        done = called("embed", "encoder=path", f"encoder.name={folder}", "text=a")
        assert done.status == 2, file
        assert str(file.parent) in done.err
        file.write_bytes(before)


def test_a_run_starts_from_the_folder_and_its_bundle_and_export_keep_all(tmp_path: Path) -> None:
    """A run whose rate is tiny leaves the vectors as they are; the width is that of the Dense."""
    parts = [Pooling(WIDTH, pooling_mode=["cls", "mean"]), Dense(2 * WIDTH, 16), Normalize()]
    prompts = {"q": "find: "}
    folder = saved(tmp_path / "model", *parts, prompts=prompts, default_prompt_name="q")
    run, target = tmp_path / "run", tmp_path / "exported"
    words = [word for word in SMALL if not word.startswith("encoder=")]
    words += ["tasks=sample", "optimizer.lr=1e-9", f"hydra.run.dir={run}"]
    done = called("train", "encoder=path", f"encoder.name={folder}", *words)
    assert done.status == 0, done.err
    bundle = load(run / "bundle")
    assert bundle.model.head("sentiment").width == 16
    assert bundle.model.head("movie").width == WIDTH
    np.testing.assert_allclose(bundle.embed(TEXTS), reference(folder), atol=1e-5)
    done = called("export", f"bundle={run}", "format=sentence_transformers", f"output={target}")
    assert done.status == 0, done.err
    np.testing.assert_allclose(reference(target), reference(folder), atol=1e-5)
    model = SentenceTransformer(str(target), device="cpu")
    for encode in (model.encode_query, model.encode_document):
        np.testing.assert_allclose(encode(TEXTS), reference(folder), atol=1e-5)
    found, _ = embedded(target)
    np.testing.assert_allclose(found, reference(folder), atol=1e-5)


def put_on_the_hub(folder: Path, home: Path, name: str) -> None:
    """Put a folder where a download of the Hub's model would be cached."""
    cached = home / "hub" / f"models--{name.replace('/', '--')}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("a" * 40)
    (cached / "snapshots").mkdir()
    shutil.copytree(folder, cached / "snapshots" / ("a" * 40))


@pytest.mark.parametrize("layout", ["version 6", "version 1"])
def test_a_model_of_the_hub_is_read_as_its_folder(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = LAYOUTS[layout](saved(tmp_path / "model", *kinds()["dense"], length=6))
    put_on_the_hub(folder, tmp_path / "home", "someone/model")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    words = ["encoder=hub", "encoder.name=someone/model", "input=texts.txt", "output=it.npy"]
    done = started("embed", *words, "precision=32-true", folder=tmp_path)
    assert done.status == 0, done.err
    assert (
        "encoder.name=someone/model: saved by SentenceTransformer, which sets pooling" in done.err
    )
    np.testing.assert_allclose(np.load(tmp_path / "it.npy"), reference(folder), atol=1e-5)


@pytest.mark.parametrize("words", [["encoder=mpnet"], ["encoder=hub", "encoder.name=a/model"]])
def test_a_hub_out_of_reach_is_one_message_at_once(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # no one listens there
    monkeypatch.setattr(time, "sleep", requests.append)
    Path("texts.txt").write_text("a film\n")
    done = called("embed", *words, "input=texts.txt", "output=it.npy")
    assert (done.status, requests) == (2, [])
    assert done.message.startswith("encoder.name=")
    assert "Name a folder that holds it, or download it where there is a network" in done.message
