from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

import candelabra
from candelabra.bundle.bundle import Bundle
from candelabra.embedding import embedder as module
from candelabra.errors import DataError
from helpers.bundles import adapt, made

TEXTS = [
    "a dull film",
    "what 1995 romantic comedy starred michael douglas",
    "",
    "a dull film",
    "it's a film; and the plot, of course, is as long as ever " * 4,
]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    made().save(tmp_path / "bundle")
    return candelabra.load(tmp_path / "bundle")


def reference(folder: Path, *, pooling: str = "mean") -> SentenceTransformer:
    transformer = Transformer(str(folder / "encoder"), max_seq_length=32)
    modules = [transformer, Pooling(16, pooling_mode=pooling)]
    return SentenceTransformer(modules=modules, device="cpu")


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_vectors_are_those_of_sentence_transformers(
    normalize: bool, batch_size: int, bundle: Bundle, tmp_path: Path
) -> None:
    right = reference(tmp_path / "bundle").encode(TEXTS, normalize_embeddings=normalize)
    found = bundle.embed(TEXTS, normalize=normalize, batch_size=batch_size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, right, atol=1e-6)


def test_a_task_that_pools_in_another_way(tmp_path: Path) -> None:
    made("mean", own_pooling="max").save(tmp_path / "bundle")
    bundle = candelabra.load(tmp_path / "bundle")
    for pooling, task in (("mean", None), ("mean", "who"), ("max", "mood")):
        right = reference(tmp_path / "bundle", pooling=pooling).encode(TEXTS)
        found = bundle.embed(TEXTS, task=task, normalize=False)
        np.testing.assert_allclose(found, right, atol=1e-6)


def test_each_task_has_its_adapter() -> None:
    bundle = made()
    adapt(bundle.model.encoder, per_task=True)
    with pytest.raises(ValueError, match=r"each task has its own adapter.*mood, who"):
        bundle.embed(TEXTS)
    mood, who = bundle.embed(TEXTS, task="mood"), bundle.embed(TEXTS, task="who")
    assert np.abs(mood - who).max() > 1e-2
    np.testing.assert_allclose(bundle.merged("who").embed(TEXTS), who, atol=1e-5)


def test_a_short_vector_is_the_beginning_at_unit_length(bundle: Bundle) -> None:
    short, whole = bundle.embed(TEXTS, truncate_dim=4), bundle.embed(TEXTS)[:, :4]
    np.testing.assert_allclose(short, whole / np.linalg.norm(whole, axis=1, keepdims=True), 1e-5)


def test_vectors_are_numbers_or_none_at_all() -> None:
    bundle = made()
    next(bundle.model.encoder.parameters()).data.fill_(float("nan"))
    with pytest.raises(DataError, match="the embeddings of 3 of 3 texts are not finite"):
        bundle.embed(TEXTS[:3])


def test_chunks_change_nothing(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bundle.embed(TEXTS)
    monkeypatch.setattr(module, "CHUNK", 2)
    np.testing.assert_allclose(bundle.embed(TEXTS), whole, atol=1e-6)


def test_every_pass_is_told(bundle: Bundle) -> None:
    told: list[int] = []
    (vectors,) = bundle.embedder().chunks(TEXTS, batch_size=2, on_batch=told.append)
    assert (len(vectors), told) == (5, [2, 2])


def test_a_repeated_text_is_embedded_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    forward = bundle.model.encoder.forward
    monkeypatch.setattr(
        bundle.model.encoder,
        "forward",
        lambda tokens, **kw: seen.append(tokens) or forward(tokens, **kw),
    )
    found = bundle.embed(["a film", "the plot", "a film"])
    assert [len(tokens.ids_BL) for tokens in seen] == [2]
    np.testing.assert_array_equal(found[0], found[2])


def test_no_texts_no_vectors(bundle: Bundle) -> None:
    assert bundle.embed([]).shape == (0, 16)
    assert bundle.embed("one").shape == (1, 16)


def test_the_run_says_whether_vectors_have_unit_length(bundle: Bundle) -> None:
    plain = replace(bundle, config=replace(bundle.config, normalize=False))
    np.testing.assert_allclose(plain.embed(TEXTS), bundle.embed(TEXTS, normalize=False))
    np.testing.assert_allclose(np.linalg.norm(bundle.embed(TEXTS), axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": "moods"}, "task must be one of mood, who, got 'moods'; did you mean 'mood'"),
        ({"truncate_dim": 17}, "truncate_dim must be from 1 to 16, got 17"),
        ({"truncate_dim": 0}, "truncate_dim must be from 1 to 16, got 0"),
    ],
)
def test_wrong_settings(settings: dict[str, object], said: str, bundle: Bundle) -> None:
    with pytest.raises(ValueError, match=said):
        bundle.embed(TEXTS, **settings)


def test_bf16_is_near(bundle: Bundle) -> None:
    half = bundle.embed(TEXTS, precision="bf16-mixed")
    assert half.dtype == np.float32
    assert torch.cosine_similarity(
        torch.tensor(half), torch.tensor(bundle.embed(TEXTS))
    ).min() == pytest.approx(1, abs=1e-3)
