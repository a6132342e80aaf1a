from __future__ import annotations

from functools import partial
from typing import Self

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from candelabra.model import freeze
from candelabra.model.freeze import Freezer, Scheme


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

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _Encoder()
        self.heads = nn.ModuleDict({"sentiment": _Layer(), "movie": _Layer()})


class _HeldModel(_Model):
    """As `Freezer` asks for: `train` holds what is frozen."""

    def __init__(self, freezer: Freezer) -> None:
        super().__init__()
        self.freezer = freezer

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.freezer.hold(self)
        return self


def _learning(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def _named(model: nn.Module, *prefixes: str) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}


LAYERS = [f"encoder.layers.{i}." for i in range(3)]
SCHEMES: list[tuple[Scheme, list[str]]] = [
    (freeze.none, []),
    (freeze.encoder, ["encoder."]),
    (freeze.embeddings, ["encoder.embeddings."]),
    (partial(freeze.lower_layers, num_layers=0), ["encoder.embeddings."]),
    (partial(freeze.lower_layers, num_layers=2), ["encoder.embeddings.", *LAYERS[:2]]),
    (partial(freeze.lower_layers, num_layers=3), ["encoder.embeddings.", *LAYERS]),
    (partial(freeze.head, head="movie"), ["heads.movie."]),
    (
        partial(freeze.combine, parts=[freeze.embeddings, partial(freeze.head, head="movie")]),
        ["encoder.embeddings.", "heads.movie."],
    ),
    (partial(freeze.combine, parts=[]), []),
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
    rule = rf"num_layers must lie between 0 and 3, .*found {num_layers}"
    with pytest.raises(ValueError, match=rule):
        freeze.lower_layers(_Model(), 0, num_layers=num_layers)


def test_an_unknown_head_names_the_heads_and_the_nearest() -> None:
    rule = r"\['sentiment', 'movie'\]; found 'sentimnt'; the nearest is 'sentiment'"
    with pytest.raises(ValueError, match=rule):
        freeze.head(_Model(), 0, head="sentimnt")


def test_a_union_names_each_module_once() -> None:
    parts = [freeze.embeddings, freeze.embeddings, partial(freeze.lower_layers, num_layers=1)]
    model = _Model()
    assert freeze.combine(model, 0, parts=parts) == [
        model.encoder.embeddings,
        model.encoder.layers[0],
    ]


def _thaw_at(model: _Model, step: int, *, step_of_thaw: int) -> list[nn.Module]:
    return [model.encoder] if step < step_of_thaw else [model.encoder.embeddings]


def test_a_scheme_may_change_with_the_step() -> None:
    model, freezer = _Model(), Freezer(partial(_thaw_at, step_of_thaw=2))
    changes = [freezer.apply(model, step) for step in range(4)]
    assert changes == [True, False, True, False]
    assert freezer.frozen == (model.encoder.embeddings,)
    assert _learning(model) == _named(model, "encoder.layers.", "heads.")
    assert model.encoder.layers[0].dropout.training
    assert not model.encoder.embeddings.dropout.training


def test_a_union_never_thaws_what_another_part_froze() -> None:
    parts = [freeze.encoder, partial(_thaw_at, step_of_thaw=0)]
    model, freezer = _Model(), Freezer(partial(freeze.combine, parts=parts))
    freezer.apply(model, 0)
    assert not freezer.apply(model, 9)
    assert _learning(model) == _named(model, "heads.")


def test_a_shared_parameter_is_frozen() -> None:
    model = _Model()
    model.heads["movie"].linear.weight = model.encoder.embeddings.linear.weight
    Freezer(freeze.embeddings).apply(model, 0)
    assert not model.heads["movie"].linear.weight.requires_grad


def test_an_evaluating_model_is_left_in_eval_mode() -> None:
    model = _Model().eval()
    freezer = Freezer(partial(_thaw_at, step_of_thaw=1))
    for step in range(2):
        freezer.apply(model, step)
    assert not any(module.training for module in model.modules())


def test_train_keeps_the_frozen_parts_in_eval_mode() -> None:
    model = _HeldModel(Freezer(freeze.encoder))
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
    Freezer(partial(freeze.lower_layers, num_layers=1)).apply(model, 0)
    model.heads["movie"](model.encoder(torch.ones(2, 4))).sum().backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == _named(model, *LAYERS[1:], "heads.movie.")


def test_a_real_encoder_is_still_where_it_is_frozen() -> None:
    bert = BertModel(
        BertConfig(
            vocab_size=20,
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
        ),
        add_pooling_layer=False,
    )
    bert.layers = bert.encoder.layer
    model = nn.Module()
    model.encoder, model.heads, model.idle = bert, nn.ModuleDict(), ()
    model.train()
    ids_BL = torch.arange(12).view(2, 6)
    freezer = Freezer(freeze.encoder)
    freezer.apply(model, 0)
    first, second = (bert(input_ids=ids_BL).last_hidden_state for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    freezer.scheme = freeze.none
    freezer.apply(model, 1)
    assert bert(input_ids=ids_BL).last_hidden_state.requires_grad
    assert not torch.equal(bert(input_ids=ids_BL).last_hidden_state, first)
