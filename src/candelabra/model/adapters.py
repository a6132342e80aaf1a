"""Low-rank adapters of the encoder, by PEFT: one for all tasks, or one for each."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from candelabra.errors import ConfigError
from candelabra.records import Encoded, Tokens

if TYPE_CHECKING:
    from peft.tuners.tuners_utils import BaseTunerLayer
    from torch import Tensor, nn

    from candelabra.model.encoder import Encoder

SHARED = "(all)"
"""The name of the adapter that serves all tasks; no task has it."""
TARGETS = {
    "distilbert": ["q_lin", "v_lin"],
    "modernbert": ["Wqkv"],  # also the keys: it has all in one
    "mpnet": ["attn.q", "attn.v"],
}
"""For backbones of which PEFT has no default; by transformers' `model_type`."""
MARK = ".lora_"
"""In the names of an adapter's own tensors."""
BASE = ".base_layer."
"""In the names of what is adapted."""


class Adapters(ABC):
    """What an option of the adapter group gives."""

    @abstractmethod
    def check(self) -> None:
        """Raises ConfigError where it cannot work here; imports nothing heavy."""

    @abstractmethod
    def attach(self, encoder: Encoder, tasks: Sequence[str]) -> None:
        """Changes the encoder in place; what it had is then fixed, and adapters learn."""


class NoAdapters(Adapters):
    """The encoder as it is."""

    def check(self) -> None:
        """Always possible."""

    def attach(self, encoder: Encoder, tasks: Sequence[str]) -> None:
        """Nothing."""


@dataclass(frozen=True, kw_only=True)
class Lora(Adapters):
    """Low-rank changes of linear maps, `W + alpha/r B A` (Hu et al. 2021); `W` stays fixed.

    Attributes:
        r: Rank of the change.
        alpha: Its scale.
        dropout: Dropout on what the adapters read.
        targets: Ends of the names of the adapted modules; None takes queries and values.
        num_layers: How many layers have adapters, counted from the top; None adapts all.
        per_task: An adapter for each task instead of one for all.

    Raises:
        ConfigError: `num_layers` or `r` is below 1.
    """

    r: int = 8
    alpha: float = 8.0
    dropout: float = 0.0
    targets: Sequence[str] | None = None
    num_layers: int | None = None
    per_task: bool = False

    def __post_init__(self) -> None:
        """Checks the settings."""
        from candelabra.rules import at_least  # a bundle without adapters loads without OmegaConf

        at_least("adapter.r", self.r, 1)
        if self.num_layers is not None:
            at_least("adapter.num_layers", self.num_layers, 1)

    def check(self) -> None:
        """Raises ConfigError where PEFT is not installed."""
        if find_spec("peft") is None:
            raise ConfigError(
                "adapter needs the extra 'adapters': pip install \"candelabra[adapters]\""
            )

    def attach(self, encoder: Encoder, tasks: Sequence[str]) -> None:
        """Adapts the encoder in place.

        Raises:
            ConfigError: PEFT is not installed, no target is known or found, or the encoder has
                fewer layers than `num_layers`.
        """
        self.check()
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,  # type: ignore[arg-type]
            lora_dropout=self.dropout,
            target_modules=self._modules(encoder),
        )
        names = list(tasks) if self.per_task else [SHARED]
        with warnings.catch_warnings():
            # Several adapters in one model are what is wanted.
            warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
            for name in names:
                inject_adapter_in_model(config, encoder.backbone, name)
        encoder.adapters = tuple(names)
        choose(encoder, names[0])

    def _modules(self, encoder: Encoder) -> list[str]:
        """The full names of what is adapted."""
        from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS

        depth = len(encoder.layers)
        count = depth if self.num_layers is None else self.num_layers
        if count > depth:
            raise ConfigError(f"adapter.num_layers must be at most {depth}, got {count}")
        kind = encoder.backbone.config.model_type
        ends = self.targets or TARGETS.get(kind) or DEFAULTS.get(kind, [])
        wanted = {
            module
            for layer in encoder.layers[depth - count :]
            for name, module in layer.named_modules()
            if any(name == end or name.endswith(f".{end}") for end in ends)
        }
        if not wanted:
            known = sorted({name for name, _ in encoder.layers[0].named_modules() if name})
            raise ConfigError(
                f"adapter.targets must be ends of the names of modules in a layer of {kind} "
                f"({', '.join(known)}); got {list(ends)}"
            )
        return [name for name, module in encoder.backbone.named_modules() if module in wanted]


def adapted(module: nn.Module) -> Iterator[tuple[str, BaseTunerLayer]]:
    """The adapted modules inside, by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, part in module.named_modules():
        if isinstance(part, BaseTunerLayer):
            yield name, part


def adapter_of(encoder: Encoder, name: str) -> list[nn.Module]:
    """The modules of one adapter."""
    parts = [(layer.lora_A, layer.lora_B) for _, layer in adapted(encoder)]  # type: ignore[attr-defined]
    return [matrices[name] for pair in parts for matrices in pair]


def choose(encoder: Encoder, name: str) -> None:
    """From now on this adapter is read; what learns stays as it is."""
    learns = {id(p): p.requires_grad for p in encoder.parameters()}
    for _, layer in adapted(encoder):
        layer.set_adapter(name)
    # PEFT lets the chosen adapter learn, and no other: that is the freezer's to say.
    for parameter in encoder.parameters():
        parameter.requires_grad_(learns[id(parameter)])


def merge(encoder: Encoder) -> None:
    """Adds the shared adapter to the weights, in place; the encoder is then an ordinary one."""
    backbone = encoder.backbone
    for name, layer in list(adapted(backbone)):
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(backbone.get_submodule(parent), child, layer.get_base_layer())
    del backbone.peft_config
    encoder.adapters = ()


def base_state(encoder: Encoder) -> dict[str, Tensor]:
    """The backbone's tensors without adapters, by their own names."""
    state = encoder.backbone.state_dict()
    return {k.replace(BASE, "."): t.contiguous() for k, t in state.items() if MARK not in k}


def adapter_state(encoder: Encoder) -> dict[str, Tensor]:
    """The adapters' tensors."""
    return {k: t.contiguous() for k, t in encoder.backbone.state_dict().items() if MARK in k}


def each(encoder: Encoder, tokens: Tokens, *, every_layer: bool = False) -> dict[str, Encoded]:
    """What every task's adapter makes of the same texts: {task: Encoded}.

    The layers below the first adapted one are passed once; the later passes take their outputs.

    Args:
        encoder: Has an adapter for each task.
        tokens: The texts.
        every_layer: Also keep the output of every layer.
    """
    layers = list(encoder.layers)
    first = next(i for i, layer in enumerate(layers) if any(True for _ in adapted(layer)))
    outputs: dict[nn.Module, Any] = {}
    found = {}
    with ExitStack() as undo:
        for layer in layers[:first]:
            hook = layer.register_forward_hook(
                lambda module, args, output: outputs.update({module: output})
            )
            undo.callback(hook.remove)
        for task in encoder.adapters:
            choose(encoder, task)
            found[task] = encoder(tokens, every_layer=every_layer)
            if len(found) == 1:
                for layer in layers[:first]:
                    layer.forward = partial(_again, outputs[layer])
                    undo.callback(delattr, layer, "forward")
    return found


def _again(output: Any, *args: Any, **kwargs: Any) -> Any:
    """In place of a layer: what it gave before."""
    return output
