from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
import transformers
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from candelabra.model.freeze.constant import FreezeEncoder
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.pooling import AttentionPooling
from candelabra.training import optim
from candelabra.training.optim import adamw, layer_of, parameter_groups
from candelabra.weighting.fixed import Fixed
from candelabra.weighting.uncertainty import Uncertainty
from helpers.small_models import small_encoder
from helpers.toys import LABELS, tiny, toy_model

PLAIN = Fixed(list(LABELS))
DECAY = {"lr": 1e-3, "weight_decay": 0.1}


@pytest.fixture
def pooled() -> MultiTaskModel:
    return toy_model(pooling=AttentionPooling(16))


def settings_of(model: nn.Module, groups: list[optim.Group]) -> dict[str, tuple[float, float]]:
    """Parameter -> its (rate, decay); each stands in one group at most."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [
        (names.get(id(parameter), "of the weighting"), (group["lr"], group["weight_decay"]))
        for group in groups
        for parameter in group["params"]
    ]
    each = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(set(each)) == len(each)
    return dict(found)


def test_every_parameter_is_in_one_group(pooled: MultiTaskModel) -> None:
    found = settings_of(pooled, parameter_groups(pooled, PLAIN, **DECAY))
    assert set(found) == {name for name, _ in pooled.named_parameters()}
    assert {rate for rate, _ in found.values()} == {1e-3}


def test_norms_and_biases_do_not_decay(pooled: MultiTaskModel) -> None:
    found = settings_of(pooled, parameter_groups(pooled, PLAIN, **DECAY))
    spared = {name for name, (_, decay) in found.items() if decay == 0}
    assert spared == {
        name
        for name in found
        if name.endswith(("bias", "query")) or "LayerNorm" in name or ".norm" in name
    }
    assert {decay for name, (_, decay) in found.items() if name not in spared} == {0.1}


def test_layers_learn_by_the_formula(pooled: MultiTaskModel) -> None:
    """Two layers: the top one at lr, one down at lr * 0.5, the embeddings at lr * 0.25."""
    groups = parameter_groups(pooled, PLAIN, **DECAY, layer_decay=0.5, head_lr=0.7)
    for name, (rate, _) in settings_of(pooled, groups).items():
        expected = 0.7
        if "encoder.backbone" in name:
            is_layer = ".layer." in name
            level = int(name.split(".layer.")[1].partition(".")[0]) + 1 if is_layer else 0
            expected = 1e-3 * 0.5 ** (2 - level)
        assert rate == pytest.approx(expected), name
    names = set(settings_of(pooled, groups))
    assert {"pooling.query", "heads.mood.classifier.1.weight"} <= names


@pytest.mark.parametrize("kind", ["distilbert", "mpnet", "modernbert"])
def test_layers_of_other_backbones(kind: str) -> None:
    encoder = small_encoder(kind)
    owner = {id(p): 0 for p in encoder.embeddings.parameters()}
    for level, layer in enumerate(encoder.layers, start=1):
        owner |= {id(p): level for p in layer.parameters()}
    for name, parameter in encoder.named_parameters(prefix="encoder"):
        # Outside of both: what the layers share, below them; a last norm, with the top layer.
        outside = 3 if "final_norm" in name else 0
        assert layer_of(name, 3) == owner.get(id(parameter), outside), name
    assert layer_of("heads.mood.layer.0.weight", 3) is None


def test_frozen_parameters_are_left_out() -> None:
    model = toy_model(freezer=Freezer(FreezeEncoder()))
    assert model.freezer is not None
    model.freezer.apply(model, 0)
    found = settings_of(model, parameter_groups(model, PLAIN, **DECAY))
    assert set(found) == {name for name, _ in model.named_parameters() if "heads" in name}


def test_the_weighting_has_its_own_group(pooled: MultiTaskModel) -> None:
    weighting = Uncertainty(list(LABELS), lr=0.3)
    *_, own = parameter_groups(pooled, weighting, **DECAY)
    assert own["params"] == list(weighting.parameters())
    assert (own["lr"], own["weight_decay"]) == (0.3, 0.0)


def test_a_module_may_have_a_rate_of_its_own(pooled: MultiTaskModel) -> None:
    pooled.pooling.project.lr = 0.5
    groups = parameter_groups(pooled, PLAIN, **DECAY, layer_decay=0.5, head_lr=0.7)
    found = settings_of(pooled, groups)
    assert {name for name, (rate, _) in found.items() if rate == 0.5} == {
        "pooling.project.weight",
        "pooling.project.bias",
    }
    assert found["pooling.project.weight"] == (0.5, 0.0)
    assert found["pooling.query"] == (0.7, 0.0)
    assert set(found) == {name for name, _ in pooled.named_parameters()}


def test_nothing_to_learn_is_an_error() -> None:
    model = toy_model()
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing is left to learn"):
        parameter_groups(model, PLAIN, **DECAY)


def test_adamw_takes_its_settings(pooled: MultiTaskModel) -> None:
    made = adamw(pooled, PLAIN, lr=1e-3, weight_decay=0.1, betas=(0.5, 0.6), eps=1e-4, fused=False)
    for group in made.param_groups:
        assert group["betas"] == (0.5, 0.6)
        assert group["eps"] == 1e-4
        assert group["weight_decay"] in (0.0, 0.1)
        assert not group["fused"]
    assert adamw(pooled, PLAIN, lr=1e-3).param_groups[0]["fused"]


def rates(make: Callable[[Optimizer, int], LambdaLR], num_steps: int) -> list[float]:
    """The rate of each step of a run, as a part of the peak."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer, num_steps)
    found = []
    for _ in range(num_steps + 1):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return found


def test_linear_at_known_steps() -> None:
    found = rates(partial(optim.linear, warmup_ratio=0.2), 10)
    assert found == pytest.approx([0, 0.5, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0])
    assert rates(partial(optim.linear, warmup_steps=2, warmup_ratio=0.9), 10) == found
    assert rates(optim.linear, 4) == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_cosine_is_transformers_own() -> None:
    theirs = partial(_get_cosine, num_warmup_steps=3)
    assert rates(partial(optim.cosine, warmup_steps=3), 20) == rates(theirs, 20)
    found = rates(partial(optim.cosine, warmup_ratio=0.2), 10)
    assert found[:3] == pytest.approx([0, 0.5, 1])
    assert (found[6], found[10]) == pytest.approx((0.5, 0))


def _get_cosine(optimizer: Optimizer, total_steps: int, *, num_warmup_steps: int) -> LambdaLR:
    get = transformers.get_cosine_schedule_with_warmup
    return get(optimizer, num_warmup_steps, total_steps)


def test_constant_at_known_steps() -> None:
    assert rates(partial(optim.constant, warmup_ratio=0.5), 4) == [0, 0.5, 1, 1, 1]
    assert rates(optim.constant, 3) == [1, 1, 1, 1]


@pytest.mark.parametrize(("total", "cut_frac", "ratio"), [(100, 0.1, 32.0), (40, 0.25, 8.0)])
def test_slanted_triangular_is_the_papers(total: int, cut_frac: float, ratio: float) -> None:
    """Howard & Ruder 2018, equation 3."""
    cut = int(total * cut_frac)
    expected = []
    for t in range(total + 1):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_frac - 1))
        expected.append((1 + p * (ratio - 1)) / ratio)
    make = partial(optim.slanted_triangular, cut_frac=cut_frac, ratio=ratio)
    assert rates(make, total) == pytest.approx(expected)


@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_short_runs_have_a_schedule(num_steps: int) -> None:
    for make in (optim.linear, optim.cosine, optim.constant, optim.slanted_triangular):
        assert all(0 <= rate <= 1 for rate in rates(make, num_steps))


def test_each_group_keeps_its_own_peak() -> None:
    model = toy_model(tiny())
    optimizer = adamw(model, PLAIN, lr=1e-3, layer_decay=0.5)
    peaks = [group["lr"] for group in optimizer.param_groups]
    scheduler = optim.linear(optimizer, 10, warmup_steps=2)
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([peak / 2 for peak in peaks])
