from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel

from candelabra.model.backbones import Pretrained, Tiny
from candelabra.model.dropout import (
    BitDropout,
    apply_keep_bits_,
    draw_keep_bits,
    set_rates,
    use_bit_dropout,
)
from candelabra.model.encoder import Encoder
from helpers.small_models import KINDS, random_tokens, save_encoder, small_config

TYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
every_type = pytest.mark.parametrize("dtype", TYPES)


def kept(shape: tuple[int, ...], p: float, dtype: torch.dtype, *, seed: int) -> Tensor:
    """1 where an element of ones is kept, 0 where it is dropped."""
    torch.manual_seed(seed)
    dropped = BitDropout(p)(torch.ones(shape, dtype=dtype))
    return (dropped != 0).double()


@every_type
@pytest.mark.parametrize("p", [0.003, 0.1, 0.5, 0.9])
def test_the_rate(dtype: torch.dtype, p: float) -> None:
    num = 400_000
    rate = 1 - float(kept((num,), p, dtype, seed=0).mean())
    assert abs(rate - p) < 5 * (p * (1 - p) / num) ** 0.5 + 2**-16


@every_type
def test_elements_are_independent(dtype: torch.dtype) -> None:
    """Neighbours at every distance within a random word, rows, columns, and calls."""
    p, rows, columns = 0.1, 500, 1000
    torch.manual_seed(0)
    layer = BitDropout(p)
    one_RC, other_RC = (
        (layer(torch.ones(rows, columns, dtype=dtype)) != 0).double() - (1 - p) for _ in range(2)
    )
    shifted = [(one_RC[:, :-shift], one_RC[:, shift:]) for shift in (1, 2, 3, 4, 8)]
    for left, right in [*shifted, (one_RC[:-1], one_RC[1:]), (one_RC, other_RC)]:
        correlation = float((left * right).mean()) / (p * (1 - p))
        assert abs(correlation) < 5 / left.numel() ** 0.5
    # The counts of a row are binomial: their variance would differ for tied elements.
    assert float(one_RC.sum(1).var()) == pytest.approx(columns * p * (1 - p), rel=0.3)


@every_type
def test_the_seed_decides(dtype: torch.dtype) -> None:
    one, same, other = (kept((50, 40), 0.3, dtype, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@every_type
def test_kept_elements_are_scaled_and_the_gradient_has_the_same_mask(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(30, 50, dtype=dtype, requires_grad=True)
    before = x.detach().clone()
    y = BitDropout(0.25)(x)
    y.sum().backward()
    assert torch.equal(x.detach(), before)
    assert x.grad is not None
    assert set(x.grad.unique().tolist()) == {0.0, float(torch.tensor(4 / 3, dtype=dtype))}
    torch.testing.assert_close(y.detach(), before * x.grad)
    assert y.dtype == dtype


def test_what_is_not_contiguous_is_dropped_as_well() -> None:
    x = torch.ones(6, 40, 50).transpose(0, 2)
    torch.manual_seed(0)
    y = BitDropout(0.5)(x)
    assert y.shape == x.shape
    assert 0.4 < float((y == 0).double().mean()) < 0.6


def test_nan_and_infinity_can_be_dropped() -> None:
    x = torch.tensor([torch.inf, torch.nan, -torch.inf] * 100)
    keep, _ = draw_keep_bits(x.shape, 0.5, x.dtype)
    found = apply_keep_bits_(x.clone(), keep)
    assert torch.equal(found == 0, keep == 0)


@pytest.mark.parametrize("p", [0.0, 1e-12, 1.0])
def test_the_ends_of_the_range(p: float) -> None:
    x = torch.ones(1000)
    torch.manual_seed(0)
    assert torch.equal(BitDropout(p)(x), torch.zeros(1000) if p == 1.0 else x)


def test_evaluation_drops_nothing() -> None:
    x = torch.ones(1000)
    assert BitDropout(0.5).eval()(x) is x


def test_an_impossible_rate_is_an_error() -> None:
    for p in (-0.1, 1.0, 1.5):
        with pytest.raises(ValueError, match="p must be at least 0 and below 1"):
            draw_keep_bits(torch.Size([3]), p, torch.float32)


def test_every_dropout_of_a_module_is_replaced_with_its_rate_and_mode() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.2), nn.Sequential(nn.Dropout(0.3)))
    module[2].eval()
    names = set(module.state_dict())
    use_bit_dropout(module)
    found = [part for part in module.modules() if isinstance(part, nn.Dropout)]
    assert [(type(part), part.p, part.training) for part in found] == [
        (BitDropout, 0.2, True),
        (BitDropout, 0.3, False),
    ]
    assert set(module.state_dict()) == names


def test_gradients_by_numerical_differentiation() -> None:
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)

    def fixed(x: Tensor) -> Tensor:
        torch.manual_seed(1)
        dropped: Tensor = BitDropout(0.4)(x)
        return dropped

    assert torch.autograd.gradcheck(fixed, [x])


def dropouts(encoder: Encoder) -> list[nn.Dropout]:
    return [module for module in encoder.modules() if isinstance(module, nn.Dropout)]


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet"])
def test_rates_are_settings(kind: str, tmp_path: Path) -> None:
    name = str(save_encoder(tmp_path, kind))

    def rates(**settings: float) -> set[float]:
        loaded = Pretrained(name=name, max_length=16, **settings).load()
        return {module.p for module in dropouts(loaded)}

    assert rates() == {0.1}
    assert rates(dropout=0.2, attention_dropout=0.3) == {0.2, 0.3}
    assert rates(dropout=0.0) == {0.0, 0.1}


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_has_both_rates(kind: str) -> None:
    """With both at 0, two passes in training are equal; with one above, they are not."""
    for hidden, attention in ((0.0, 0.0), (0.4, 0.0), (0.0, 0.4)):
        config = small_config(kind)
        set_rates(config, {"dropout": hidden, "attention_dropout": attention})
        encoder, tokens = Encoder(AutoModel.from_config(config)).train(), random_tokens(8)
        equal = torch.equal(encoder(tokens).hidden_BLD, encoder(tokens).hidden_BLD)
        assert equal == (hidden == attention == 0.0)


def test_pytorchs_own_dropout_can_be_kept() -> None:
    for wanted, kind in ((True, BitDropout), (False, nn.Dropout)):
        encoder = Tiny(dropout=0.3, bit_dropout=wanted).load()
        assert {type(module) for module in dropouts(encoder)} == {kind}
        assert {module.p for module in dropouts(encoder)} == {0.1, 0.3}


def test_a_wrong_rate_is_an_error() -> None:
    for rate in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"dropout must be at least 0 and below 1"):
            Tiny(dropout=rate).load()

    class Other:
        model_type = "other"

    with pytest.raises(ValueError, match="attention_dropout must be null for other"):
        set_rates(Other(), {"attention_dropout": 0.1})
    set_rates(Other(), {"attention_dropout": None})
