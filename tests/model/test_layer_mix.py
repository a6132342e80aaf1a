from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from candelabra.model.freeze.constant import FreezeEncoder, FreezeNothing
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.layer_mix import LayerMix
from candelabra.model.multitask import MultiTaskModel
from candelabra.records import Batch, Encoded, Tokens
from helpers.small_models import KINDS, small_encoder
from helpers.toys import Splits, fit, tiny, toy_model, toy_module, weights

TOKENS = Tokens(torch.randint(3, 60, (2, 7)), torch.ones(2, 7).long())


def layers(num_layers: int = 3) -> Encoded:
    torch.manual_seed(0)
    each = tuple(torch.randn(2, 5, 4) for _ in range(num_layers))
    return Encoded(each[-1], torch.ones(2, 5).long(), each)


def mixed_model(freezer: Freezer | None = None) -> MultiTaskModel:
    encoder = tiny()
    return toy_model(encoder, mixes={"mood": LayerMix(len(encoder.layers) + 1)}, freezer=freezer)


def batches_of(toys: Splits) -> dict[str, Batch]:
    return {task: each["train"].batch(range(5)) for task, each in toys.items()}


def test_starts_as_the_mean_of_the_layers() -> None:
    encoded = layers()
    found = LayerMix(3)(encoded)
    assert encoded.layers is not None
    torch.testing.assert_close(found.hidden_BLD, torch.stack(encoded.layers).mean(0))
    assert torch.equal(found.mask_BL, encoded.mask_BL)


def test_is_the_papers_formula() -> None:
    mix, encoded = LayerMix(3), layers()
    with torch.no_grad():
        mix.s.copy_(torch.tensor([1.0, -2.0, 0.5]))
        mix.gamma.fill_(1.7)
    share = mix.s.exp() / mix.s.exp().sum()
    assert encoded.layers is not None
    expected = 1.7 * sum(w * h for w, h in zip(share, encoded.layers, strict=True))
    torch.testing.assert_close(mix(encoded).hidden_BLD, expected)


def test_half_precision_is_mixed_in_float32_and_answered_in_half() -> None:
    encoded = layers()
    assert encoded.layers is not None
    half = tuple(each.bfloat16() for each in encoded.layers)
    found = LayerMix(3)(Encoded(half[-1], encoded.mask_BL, half)).hidden_BLD
    assert found.dtype is torch.bfloat16
    expected = torch.stack([each.float() for each in half]).mean(0).bfloat16()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_of_every_backbone(kind: str) -> None:
    encoder = small_encoder(kind).eval()
    seen: list[Tensor] = []

    def keep(_: object, __: object, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    for part in (encoder.embeddings, *encoder.layers):
        part.register_forward_hook(keep)
    with torch.no_grad():
        encoded = encoder.forward_padded(TOKENS, every_layer=True)
    assert encoded.layers is not None
    assert len(encoded.layers) == len(encoder.layers) + 1 == len(seen)
    for found, expected in zip(encoded.layers[:-1], seen[:-1], strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(encoded.layers[-1], encoded.hidden_BLD)
    with torch.no_grad():
        alone = encoder.forward_padded(TOKENS)
    assert torch.equal(alone.hidden_BLD, encoded.hidden_BLD)
    assert alone.layers is None


def test_only_the_task_that_asks_has_every_layer(toys: Splits) -> None:
    model, asked = mixed_model().eval(), []
    model.encoder.register_forward_pre_hook(
        lambda _, args, kwargs: asked.append(kwargs["every_layer"]), with_kwargs=True
    )
    batches = batches_of(toys)
    with torch.no_grad():
        apart, plain = model(batches), toy_model(tiny()).eval()(batches)
    assert asked == [True, False]
    assert torch.equal(apart["who"], plain["who"])
    assert not torch.allclose(apart["mood"], plain["mood"])


def test_serving_equals_training_passes(toys: Splits) -> None:
    model, batch = mixed_model().eval(), batches_of(toys)["who"]
    with torch.no_grad():
        served = model.infer_all(batch.texts[0], batch.first_BW)
        apart = model({"mood": batch, "who": batch})
    assert all(torch.equal(served[task], apart[task]) for task in served)


@pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # frozen parts are, on purpose
@pytest.mark.parametrize("frozen", [False, True])
def test_learns_in_a_training_also_over_a_frozen_encoder(toys: Splits, frozen: bool) -> None:
    freezer = Freezer(FreezeEncoder() if frozen else FreezeNothing())
    model = mixed_model(freezer)
    freezer.apply(model, 0)
    before = model.state_dict()["encoder.backbone.encoder.layer.0.output.dense.weight"].clone()
    module = fit(toys, toy_module(model), data={"steps_per_epoch": 1, "epoch": "steps"})
    after = weights(module)
    # AdamW moves by its rate in its first step; the others' rate is half of this one.
    assert after["mixes.mood.gamma"].sub(1).abs().item() == pytest.approx(0.01, rel=1e-2)
    assert after["mixes.mood.s"].abs().max().item() == pytest.approx(0.01, rel=1e-2)
    still = torch.equal(after["encoder.backbone.encoder.layer.0.output.dense.weight"], before)
    assert still is frozen
