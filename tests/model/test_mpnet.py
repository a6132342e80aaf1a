"""The real all-mpnet-base-v2, where `CANDELABRA_MPNET` names its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from helpers.command_line import called

FOLDER = os.environ.get("CANDELABRA_MPNET", "")
TEXTS = [
    "The trumpet player forgot the second half of the song.",
    "Nobody had watered the tomatoes for a week!",
    "who directed the film about the heist",
    "A train that leaves on time is a rare sight here. " * 60,
]
TASKS, SPLITS = ("sentiment", "movie"), ("train", "validation", "test")

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="CANDELABRA_MPNET names no folder of all-mpnet-base-v2"
)


def test_vectors_are_those_of_sentence_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("\n".join(TEXTS) + "\n")
    words = ["encoder=mpnet", f"encoder.name={FOLDER}", "precision=32-true"]
    done = called("embed", *words, "input=texts.txt", "output=vectors.npy")
    assert done.status == 0, done.err
    expected = SentenceTransformer(FOLDER, device="cpu").encode(
        [text.strip() for text in TEXTS], show_progress_bar=False
    )
    assert expected.shape == (4, 768)
    np.testing.assert_allclose(np.load("vectors.npy"), expected, atol=1e-5)


def test_two_heads_train_on_one_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["encoder=path", f"encoder.name={FOLDER}", "encoder.max_length=32"]
    words += [f"tasks.{task}.limit.{split}=8" for task in TASKS for split in SPLITS]
    words += ["trainer.max_epochs=1", "batch_size=4", "logger=none", "hydra.run.dir=run"]
    trained = called("train", *words)
    assert trained.status == 0, trained.err
    answered = called("predict", "bundle=run", "text=a dull film")
    assert answered.status == 0, answered.err
    assert set(TASKS) <= set(json.loads(answered.out))
