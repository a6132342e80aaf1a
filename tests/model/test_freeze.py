from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn

from candelabra.model.freeze.base import Scheme
from candelabra.model.freeze.constant import (
    Composition,
    FreezeEmbeddings,
    FreezeEncoder,
    FreezeHead,
    FreezeLowerLayers,
    FreezeNothing,
)
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.freeze.scheduled import Gradual, LinearProbeThenFinetune
from candelabra.records import TrainingProgress
from helpers.small_models import small_encoder


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(4, 4), nn.Dropout(0.5)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.dropout(self.linear(hidden))


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embeddings = _Layer()
        self.layers = nn.ModuleList(_Layer() for _ in range(3))
        self.stem = [self.embeddings]

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.embeddings(hidden)
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


class _Model(nn.Module):
    idle: tuple[nn.Module, ...] = ()
    resting: tuple[nn.Module, ...] = ()
    fixed: tuple[nn.Parameter, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _Encoder()
        self.heads = nn.ModuleDict({"sentiment": _Layer(), "movie": _Layer()})

    def parts_of(self, task: str) -> list[nn.Module]:
        return [self.heads[task]]


class _HeldModel(_Model):
    """As `Freezer` asks for: `train` holds what is frozen."""

    def __init__(self, freezer: Freezer) -> None:
        super().__init__()
        self.freezer = freezer

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.freezer.keep_frozen_in_eval(self)
        return self


def _learning(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def _named(model: nn.Module, *prefixes: str) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}


LAYERS = [f"encoder.layers.{i}." for i in range(3)]
SCHEMES: list[tuple[Scheme, list[str]]] = [
    (FreezeNothing(), []),
    (FreezeEncoder(), ["encoder."]),
    (FreezeEmbeddings(), ["encoder.embeddings."]),
    (FreezeLowerLayers(num_layers=0), ["encoder.embeddings."]),
    (FreezeLowerLayers(num_layers=2), ["encoder.embeddings.", *LAYERS[:2]]),
    (FreezeLowerLayers(num_layers=3), ["encoder.embeddings.", *LAYERS]),
    (FreezeHead(head="movie"), ["heads.movie."]),
    (
        Composition(parts={"low": FreezeEmbeddings(), "movie": FreezeHead(head="movie")}),
        ["encoder.embeddings.", "heads.movie."],
    ),
    (Composition(parts={}), []),
]


@pytest.mark.parametrize(("scheme", "frozen"), SCHEMES)
def test_exactly_the_named_parts_are_frozen(scheme: Scheme, frozen: list[str]) -> None:
    model = _Model()
    changed = Freezer(scheme).apply(model, 0)
    held = _named(model, *frozen) if frozen else set()
    assert _learning(model) == _named(model, "") - held
    assert changed is bool(frozen)
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            assert module.training is not (frozen != [] and name.startswith(tuple(frozen)))


@pytest.mark.parametrize("num_layers", [-1, 4])
def test_too_many_layers_names_their_number(num_layers: int) -> None:
    rule = rf"num_layers must lie between 0 and 3, .*got {num_layers}"
    with pytest.raises(ValueError, match=rule):
        FreezeLowerLayers(num_layers=num_layers).frozen(_Model(), TrainingProgress())


def test_an_unknown_head_names_the_heads_and_the_nearest() -> None:
    rule = r"\['sentiment', 'movie'\], got 'sentimnt'; did you mean 'sentiment'"
    with pytest.raises(ValueError, match=rule):
        FreezeHead(head="sentimnt").frozen(_Model(), TrainingProgress())


def test_a_union_names_each_module_once() -> None:
    schemes = [FreezeEmbeddings(), FreezeEmbeddings(), FreezeLowerLayers(num_layers=1)]
    parts = {str(i): scheme for i, scheme in enumerate(schemes)}
    model = _Model()
    assert Composition(parts=parts).frozen(model, TrainingProgress()) == [
        model.encoder.embeddings,
        model.encoder.layers[0],
    ]


@dataclass(frozen=True)
class _ThawAt(Scheme):
    step: int

    def frozen(self, model: Any, at: TrainingProgress) -> list[nn.Module]:
        return [model.encoder] if at.step < self.step else [model.encoder.embeddings]


def test_a_scheme_may_change_with_the_step() -> None:
    model, freezer = _Model(), Freezer(_ThawAt(2))
    changes = [freezer.apply(model, step) for step in range(4)]
    assert changes == [True, False, True, False]
    assert freezer.frozen == (model.encoder.embeddings,)
    assert _learning(model) == _named(model, "encoder.layers.", "heads.")
    assert model.encoder.layers[0].dropout.training
    assert not model.encoder.embeddings.dropout.training


def test_a_union_never_thaws_what_another_part_froze() -> None:
    parts = {"always": FreezeEncoder(), "later": _ThawAt(2)}
    model, freezer = _Model(), Freezer(Composition(parts=parts))
    freezer.apply(model, 0)
    assert not freezer.apply(model, 9)
    assert _learning(model) == _named(model, "heads.")


def test_a_shared_parameter_is_frozen() -> None:
    model = _Model()
    model.heads["movie"].linear.weight = model.encoder.embeddings.linear.weight
    Freezer(FreezeEmbeddings()).apply(model, 0)
    assert not model.heads["movie"].linear.weight.requires_grad


def test_an_evaluating_model_is_left_in_eval_mode() -> None:
    model = _Model().eval()
    freezer = Freezer(_ThawAt(1))
    for step in range(2):
        freezer.apply(model, step)
    assert not any(module.training for module in model.modules())


def test_train_keeps_the_frozen_parts_in_eval_mode() -> None:
    model = _HeldModel(Freezer(FreezeEncoder()))
    model.freezer.apply(model, 0)
    model.eval()
    model.train()
    assert not any(module.training for module in model.encoder.modules())
    assert model.training
    assert model.heads["movie"].dropout.training
    hidden = torch.ones(2, 4)
    assert torch.equal(model.encoder(hidden), model.encoder(hidden))
    assert not torch.equal(model.heads["movie"](hidden), model.heads["movie"](hidden))


def test_only_what_learns_gets_a_gradient() -> None:
    model = _Model()
    Freezer(FreezeLowerLayers(num_layers=1)).apply(model, 0)
    model.heads["movie"](model.encoder(torch.ones(2, 4))).sum().backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == _named(model, *LAYERS[1:], "heads.movie.")


def test_a_real_encoder_is_still_where_it_is_frozen() -> None:
    bert = small_encoder().backbone
    bert.layers = bert.encoder.layer
    model = nn.Module()
    model.encoder, model.heads = bert, nn.ModuleDict()
    model.idle, model.resting, model.fixed = (), (), ()
    model.train()
    ids_BL = torch.arange(12).view(2, 6)
    freezer = Freezer(FreezeEncoder())
    freezer.apply(model, 0)
    first, second = (bert(input_ids=ids_BL).last_hidden_state for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    freezer.scheme = FreezeNothing()
    freezer.apply(model, 1)
    assert bert(input_ids=ids_BL).last_hidden_state.requires_grad
    assert not torch.equal(bert(input_ids=ids_BL).last_hidden_state, first)


def _whole_layers(model: _Model) -> list[str]:
    """The encoder's groups, lowest first, that learn."""
    groups = {"stem": model.encoder.embeddings, **dict(enumerate(model.encoder.layers))}
    return [
        str(name)
        for name, module in groups.items()
        if all(parameter.requires_grad for parameter in module.parameters())
    ]


@pytest.mark.parametrize(("epochs", "per_group"), [(1.0, 10), (0.5, 5), (2, 20), (0.3, 3)])
def test_gradual_thaws_a_group_at_a_time_from_the_top(epochs: float, per_group: int) -> None:
    model = _Model()
    freezer = Freezer(Gradual(epochs_per_group=epochs), steps_per_epoch=10)
    expected = [[], ["2"], ["1", "2"], ["0", "1", "2"], ["stem", "0", "1", "2"]]
    for step in range(5 * per_group + 3):
        changed = freezer.apply(model, step)
        assert changed is (step % per_group == 0 and step <= 4 * per_group)
        assert _whole_layers(model) == expected[min(4, step // per_group)]
        assert model.heads["movie"].linear.weight.requires_grad


def test_what_lies_ahead_is_told_beforehand() -> None:
    model, freezer = _Model(), Freezer(Gradual(), steps_per_epoch=7)
    freezer.apply(model, 0)
    size = 4 * 4 + 4
    found = freezer.thaws(model, 30)
    assert found == {0: 2 * size, 7: 3 * size, 14: 4 * size, 21: 5 * size, 28: 6 * size}
    assert _whole_layers(model) == []


def test_a_schedule_never_thaws_what_was_frozen_beside_it() -> None:
    parts = {"gradual": Gradual(), "low": FreezeLowerLayers(num_layers=2)}
    model, freezer = _Model(), Freezer(Composition(parts=parts))
    for step in range(9):
        freezer.apply(model, step)
        assert _whole_layers(model) == ([] if step == 0 else ["2"])
    assert freezer.scheme.layer_decay == pytest.approx(1 / 2.6)
    assert freezer.scheme.warmup_steps == 20


def test_the_probe_ends_and_its_rate_with_it() -> None:
    scheme = LinearProbeThenFinetune(probe_epochs=0.5, probe_lr_factor=3.0)
    model, freezer = _Model(), Freezer(scheme, steps_per_epoch=10)
    for step in range(12):
        freezer.apply(model, step)
        assert bool(_whole_layers(model)) is (step >= 5)
        assert freezer.lr_factor(step) == (3.0 if step < 5 else 1.0)


@pytest.mark.parametrize(
    ("scheme", "key"),
    [
        (Gradual, "epochs_per_group"),
        (Gradual, "layer_decay"),
        (LinearProbeThenFinetune, "probe_epochs"),
        (LinearProbeThenFinetune, "probe_lr_factor"),
    ],
)
def test_settings_that_mean_nothing_are_refused(scheme: type[Scheme], key: str) -> None:
    for value in (0, -1.0, "much", True):
        with pytest.raises(ValueError, match=rf"^{key} must be a number above 0.*, got"):
            scheme(**{key: value})
