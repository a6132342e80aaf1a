"""Every encoder takes two steps, as a tiny model of its architecture, and texts of its length."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from candelabra.build.model import build_backbone
from candelabra.data.truncation import TRUNCATIONS
from candelabra.records import Tokens
from candelabra.run.start import check_settings
from helpers.composing import OPTIONS, SMALL, composed, two_steps, words
from helpers.stand_ins import HUB_MODELS, write_model

ENCODERS = [name for name in OPTIONS if name.startswith("encoder/")]


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hub id -> a folder with a tiny model of the same architecture and positions."""
    root = tmp_path_factory.mktemp("models")
    return {
        name: str(write_model(root / str(place), *kind))
        for place, (name, kind) in enumerate(HUB_MODELS.items())
    }


LARGE = "encoder/minilm_random"  # of the size of encoder/minilm, which is tested first


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n == LARGE else n for n in ENCODERS],
)
def test_encoder_takes_two_steps(
    name: str, settings: list[str], tmp_path: Path, stand_ins: dict[str, str]
) -> None:
    small = [word for word in SMALL if not word.startswith("encoder=")]
    overrides = [*small, *settings, *words(name)]
    cfg = composed(overrides, tmp_path)
    check_settings(cfg)
    given = cfg.encoder.get("name", "")
    if given and not given.startswith("package:"):
        overrides += [f"encoder.name={stand_ins[given]}"]
    two_steps(overrides, tmp_path)


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_has_room_for_its_max_length(
    name: str, truncation: str, tmp_path: Path, stand_ins: dict[str, str]
) -> None:
    node = composed([*words(name), f"encoder.truncation={truncation}"], tmp_path).encoder
    if "name" in node and not node.name.startswith("package:"):
        node.name = stand_ins[node.name]
    backbone = build_backbone(node)
    texts = backbone.tokenizer()(["a film " * node.max_length, "a film"])
    assert list(texts.lengths) == [node.max_length, texts.lengths[1]]
    ids = torch.from_numpy(texts.text(0).copy())[None].long()
    encoder = backbone.load().eval()
    with torch.inference_mode():
        hidden = encoder(Tokens(ids, torch.ones_like(ids))).hidden_BLD
    assert hidden.shape == (1, node.max_length, encoder.width)
    assert hidden.isfinite().all()
