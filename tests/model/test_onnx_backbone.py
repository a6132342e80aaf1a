"""onnxruntime computes what torch computes, for every use of an encoder."""

from __future__ import annotations

import pickle
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from candelabra.bundle.bundle import Bundle
from candelabra.config.keys import GRAPHS
from candelabra.errors import ConfigError
from candelabra.model.adapters import Lora
from candelabra.model.heads.classification import ClassificationHead
from candelabra.model.heads.crf import CrfHead
from candelabra.model.onnx_backbone import GRAPH, compute_with_onnx
from candelabra.search.origin import origin_of
from helpers.exports import MOODS, TAGS, TEXTS, bundle_of
from helpers.small_models import KINDS, WIDTH

FAST = ("bert",)


def two_heads(kind: str = "bert") -> Bundle:
    heads = {"mood": ClassificationHead(WIDTH, MOODS), "cast": CrfHead(WIDTH, TAGS)}
    return bundle_of(heads, kind=kind, mixed=["mood"])


def on_onnx(bundle: Bundle, folder: Path, *, int8: bool = False) -> Bundle:
    """A copy of a bundle whose encoder onnxruntime computes."""
    copied = deepcopy(bundle)
    compute_with_onnx(copied.model, copied.tokenizer, folder, int8=int8)
    return copied


def graph_of(folder: Path) -> Path:
    (file,) = folder.glob(f"{GRAPHS}/*/{GRAPH}")
    return file


@pytest.mark.parametrize(
    "kind",
    [kind if kind in FAST else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS],
)
def test_all_outputs_are_those_of_torch(kind: str, tmp_path: Path) -> None:
    bundle = two_heads(kind)
    other = on_onnx(bundle, tmp_path)
    np.testing.assert_allclose(other.embed(TEXTS), bundle.embed(TEXTS), atol=1e-5)
    for found, right in zip(other.predict(TEXTS), bundle.predict(TEXTS), strict=True):
        expected = pytest.approx(right["mood"]["probabilities"], abs=1e-4)
        assert found["mood"]["probabilities"] == expected
        assert [span["type"] for span in found["cast"]] == [span["type"] for span in right["cast"]]


def test_int8_weights_change_vectors_a_little(tmp_path: Path) -> None:
    bundle = two_heads()
    plain, small = bundle.embed(TEXTS), on_onnx(bundle, tmp_path, int8=True).embed(TEXTS)
    cosines = (plain * small).sum(1)
    assert np.all(cosines > 0.9)
    assert np.all(np.abs(plain - small).max(1) > 0)


def test_a_graph_is_made_once_and_again_if_it_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = two_heads()
    right = on_onnx(bundle, tmp_path).embed(TEXTS)
    assert "making the ONNX graph" in capsys.readouterr().err
    np.testing.assert_array_equal(on_onnx(bundle, tmp_path).embed(TEXTS), right)
    assert capsys.readouterr().err == ""
    file = graph_of(tmp_path)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    np.testing.assert_array_equal(on_onnx(bundle, tmp_path).embed(TEXTS), right)
    assert "making the ONNX graph" in capsys.readouterr().err


@pytest.mark.slow
def test_other_weights_have_another_graph_and_another_origin(tmp_path: Path) -> None:
    bundle = two_heads()
    changed = deepcopy(bundle)
    with torch.no_grad():
        next(changed.model.encoder.parameters()).add_(0.1)
    models = [on_onnx(bundle, tmp_path), on_onnx(changed, tmp_path), bundle, changed]
    assert len(list(tmp_path.glob(f"{GRAPHS}/*"))) == 2
    assert len({origin_of(each.embedder(), "m")["weights"] for each in models}) == len(models)


def test_a_copy_in_another_process_computes_the_same(tmp_path: Path) -> None:
    embedder = on_onnx(two_heads(), tmp_path).embedder()
    right = embedder.embed(TEXTS)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(embedder)).embed(TEXTS), right)


def test_an_adapter_for_each_task_is_refused(tmp_path: Path) -> None:
    bundle = two_heads()
    Lora(r=2, per_task=True).attach(bundle.model.encoder, ["mood", "cast"])
    with pytest.raises(ConfigError, match="backend must be torch for a model with an adapter for"):
        on_onnx(bundle, tmp_path)
    assert list(tmp_path.iterdir()) == []
