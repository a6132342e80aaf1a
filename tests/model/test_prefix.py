"""The frozen part of an encoder: how deep it is, when its features count, what replaces it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from candelabra.model.encoder import Encoder
from candelabra.model.freeze.base import Scheme
from candelabra.model.freeze.constant import (
    FreezeEmbeddings,
    FreezeEncoder,
    FreezeHead,
    FreezeLowerLayers,
    FreezeNothing,
)
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.freeze.scheduled import Gradual, LinearProbeThenFinetune
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.prefix import (
    WHOLE,
    FrozenPrefix,
    digest,
    frozen_depth,
    frozen_prefix,
    output_of,
)
from helpers.frozen import frozen_model
from helpers.small_models import KINDS, random_tokens, small_encoder, small_model

DEPTHS: list[tuple[Scheme, float]] = [
    (FreezeNothing(), 0),
    (FreezeHead(head="mood"), 0),
    (FreezeEmbeddings(), 0),
    (FreezeLowerLayers(num_layers=1), 1),
    (FreezeLowerLayers(num_layers=2), 2),
    (FreezeEncoder(), WHOLE),
    (Gradual(), WHOLE),
    (LinearProbeThenFinetune(), WHOLE),
]


@pytest.mark.parametrize(("scheme", "depth"), DEPTHS)
def test_the_depth_follows_the_scheme(scheme: Scheme, depth: float) -> None:
    model = frozen_model(scheme)
    assert frozen_depth(model) == depth
    prefix = frozen_prefix(model)
    assert (0 if prefix is None else prefix.depth) == depth


def test_the_depth_follows_what_thaws() -> None:
    model = frozen_model(Gradual(), steps_per_epoch=1)
    assert model.freezer is not None
    depths = []
    for step in range(4):
        model.freezer.apply(model, step)
        depths.append(frozen_depth(model))
    assert depths == [WHOLE, 1, 0, 0]


def frozen(kind: str, scheme: Scheme) -> tuple[MultiTaskModel, FrozenPrefix]:
    """A model on a random encoder that is frozen by a scheme."""
    model = small_model({}, small_encoder(kind))
    model.freezer = Freezer(scheme)
    model.freezer.apply(model, 0)
    prefix = frozen_prefix(model)
    assert prefix is not None
    return model, prefix


def gradients_of(encoder: Encoder, hidden_BLD: Tensor) -> list[Tensor]:
    encoder.zero_grad()
    (hidden_BLD**3).sum().backward()
    return [p.grad.clone() for p in encoder.parameters() if p.grad is not None]


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_the_layers_above_see_no_difference(kind: str, depth: int) -> None:
    model, prefix = frozen(kind, FreezeLowerLayers(num_layers=depth))
    encoder, tokens = model.encoder.eval(), random_tokens(9)
    expected_BLD = encoder(tokens).hidden_BLD
    expected = gradients_of(encoder, expected_BLD)
    features_BLD = output_of(encoder, tokens, depth)
    encoder.prefix = prefix
    found_BLD = encoder(replace(tokens, features_BLD=features_BLD)).hidden_BLD
    # MPNet computes features from padded texts, and packs them otherwise.
    allowed = 1e-5 if kind == "mpnet" else 0.0
    torch.testing.assert_close(found_BLD, expected_BLD, rtol=allowed, atol=allowed)
    found = gradients_of(encoder, found_BLD)
    assert len(found) == len(expected) > 0
    largest = max(float(gradient.abs().max()) for gradient in expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=10 * allowed * largest)
    # A pass that needs every layer computes them.
    layers = encoder(replace(tokens, features_BLD=features_BLD), every_layer=True).layers
    assert layers is not None
    assert len({id(layer) for layer in layers}) == 4


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_encoder_is_not_asked_for_what_is_stored(kind: str, training: bool) -> None:
    """Alone and with texts that are not stored, of tokens and pooled."""
    model, prefix = frozen(kind, FreezeEncoder())
    encoder, other = model.encoder.train(training), random_tokens(9)
    encoder.prefix = prefix
    whole = replace(other, features_BLD=torch.rand(3, 9, 16))
    pooled = replace(other, features_BLD=torch.rand(3, 1, 16))
    for batches in ([whole], [pooled], [whole, other, pooled]):
        for tokens, encoded in zip(batches, encoder.encode(batches), strict=True):
            if tokens.features_BLD is not None:
                assert torch.equal(encoded.hidden_BLD, tokens.features_BLD)


def test_features_do_not_count_in_a_pass_that_learns_more() -> None:
    """Outdated features are computed again, whatever a batch brings."""
    model = frozen_model(FreezeLowerLayers(num_layers=1))
    tokens = random_tokens(9)
    wrong = replace(tokens, features_BLD=torch.zeros(3, 9, 16))
    model.encoder.eval()
    expected_BLD = model.encoder(tokens).hidden_BLD
    model.encoder.prefix = prefix = frozen_prefix(model)
    assert prefix is not None
    assert not torch.equal(model.encoder(wrong).hidden_BLD, expected_BLD)
    prefix.live = False
    assert torch.equal(model.encoder(wrong).hidden_BLD, expected_BLD)


def thaw(model: MultiTaskModel) -> None:
    model.freezer = Freezer(FreezeNothing())
    model.freezer.apply(model, 0)


def change(name: str) -> Callable[[MultiTaskModel], None]:
    def add(model: MultiTaskModel) -> None:
        with torch.no_grad():
            for parameter in model.encoder.get_submodule(name).parameters():
                parameter += 1e-3

    return add


@pytest.mark.parametrize(
    ("happens", "live"),
    [
        (thaw, False),
        (change("backbone.embeddings"), False),
        (change("backbone.encoder.layer.0"), False),
        (change("backbone.encoder.layer.1"), True),
    ],
)
def test_a_review_notices_other_weights_and_thaws(
    happens: Callable[[MultiTaskModel], None], live: bool
) -> None:
    model = frozen_model(FreezeLowerLayers(num_layers=1))
    prefix = frozen_prefix(model)
    assert prefix is not None
    prefix.review(model)
    assert prefix.live
    happens(model)
    prefix.review(model)
    assert prefix.live is live


def test_the_digest_tells_encoders_apart() -> None:
    encoders: list[Encoder] = [small_encoder(kind) for kind in KINDS]
    digests = {digest(encoder, depth) for encoder in encoders for depth in (1, 2, WHOLE)}
    assert len(digests) == 3 * len(KINDS)
    again = small_encoder("bert")
    again.backbone.config.hidden_dropout_prob = 0.5  # a frozen encoder has no dropout
    assert digest(again, 1) in digests


def test_the_modes_of_the_modules_stay() -> None:
    model = frozen_model(FreezeLowerLayers(num_layers=1))
    model.train()
    modes = [module.training for module in model.modules()]
    state = torch.random.get_rng_state()
    frozen_prefix(model)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
