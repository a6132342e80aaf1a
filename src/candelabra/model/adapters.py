"""Low-rank adapters (LoRA) of the encoder with PEFT: one shared by all tasks, or one per task."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from candelabra.errors import ConfigError
from candelabra.records import Encoded, Tokens

if TYPE_CHECKING:
    from peft.tuners.tuners_utils import BaseTunerLayer
    from torch import Tensor, nn

    from candelabra.model.encoder import Encoder

SHARED = "(all)"
"""Name of the adapter shared by all tasks. No task can have this name."""
MARK = ".lora_"
"""Part of the name of every tensor that belongs to an adapter."""

TARGETS = {
    "distilbert": ["q_lin", "v_lin"],
    "modernbert": ["Wqkv"],  # One fused matrix, so the keys are adapted too.
    "mpnet": ["attn.q", "attn.v"],
}
"""Names of the adapted modules by `model_type`, for backbones without a default in PEFT."""
BASE = ".base_layer."
"""Part of the name of every original tensor of an adapted module."""


class Adapters(ABC):
    """Base class of the options of the config group `adapter`."""

    @abstractmethod
    def check(self) -> None:
        """Raise ConfigError if a required package is missing.

        Called before anything is loaded, so it must not import large libraries.
        """

    @abstractmethod
    def attach(self, encoder: Encoder, tasks: Sequence[str]) -> None:
        """Add adapters to the encoder in place.

        Afterwards only the adapters are trained; the encoder's own weights are fixed.

        Args:
            encoder: The encoder to adapt.
            tasks: Names of all tasks.
        """


class NoAdapters(Adapters):
    """Option that adds no adapters."""

    def check(self) -> None:
        """Accept every environment."""

    def attach(self, encoder: Encoder, tasks: Sequence[str]) -> None:
        """Leave the encoder unchanged."""


@dataclass(frozen=True, kw_only=True)
class Lora(Adapters):
    """Low-rank adaptation of linear layers, `W + alpha/r B A` with fixed `W` (Hu et al. 2021).

    Attributes:
        r: Rank of `B A`.
        alpha: Scale of `B A`, divided by `r`.
        dropout: Dropout probability on the input of the adapters.
        targets: Suffixes of the names of the adapted modules. By default, queries and values.
        num_layers: Number of adapted layers, counted from the top. By default, all layers.
        per_task: Whether each task gets its own adapter.

    Raises:
        ConfigError: If `num_layers` or `r` is less than 1.
    """

    r: int = 8
    alpha: float = 8.0
    dropout: float = 0.0
    targets: Sequence[str] | None = None
    num_layers: int | None = None
    per_task: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        from candelabra.checks import at_least

        at_least("r", self.r, 1)
        if self.num_layers is not None:
            at_least("num_layers", self.num_layers, 1)

    def check(self) -> None:
        """Raise ConfigError if PEFT is not installed."""
        if find_spec("peft") is None:
            raise ConfigError(
                "adapter needs the extra 'adapters': pip install \"candelabra[adapters]\""
            )

    def attach(self, encoder: Encoder, tasks: Sequence[str]) -> None:
        """Add the adapters to the encoder in place.

        Args:
            encoder: The encoder to adapt.
            tasks: Names of all tasks.

        Raises:
            ConfigError: If PEFT is not installed, no module matches `targets`, or `num_layers`
                exceeds the number of encoder layers.
        """
        self.check()
        from peft import LoraConfig, inject_adapter_in_model

        num_below = self._num_below(encoder)
        config = LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,  # type: ignore[arg-type]
            lora_dropout=self.dropout,
            target_modules=self._modules(encoder, num_below),
        )
        names = list(tasks) if self.per_task else [SHARED]
        with warnings.catch_warnings():
            # Several adapters in one model are intended here.
            warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
            for name in names:
                inject_adapter_in_model(config, encoder.backbone, name)
        encoder.adapters, encoder.num_below_adapters = tuple(names), num_below
        choose(encoder, names[0])

    def _num_below(self, encoder: Encoder) -> int:
        """Return the number of layers below the adapted ones."""
        depth = len(encoder.layers)
        count = depth if self.num_layers is None else self.num_layers
        if count > depth:
            raise ConfigError(f"num_layers must be at most {depth}, got {count}")
        return depth - count

    def _modules(self, encoder: Encoder, num_below: int) -> list[str]:
        """Return the full names of the modules to adapt."""
        from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS

        kind = encoder.backbone.config.model_type
        suffixes = self.targets or TARGETS.get(kind) or DEFAULTS.get(kind, [])
        targeted = {
            module
            for layer in encoder.layers[num_below:]
            for name, module in layer.named_modules()
            if any(name == suffix or name.endswith(f".{suffix}") for suffix in suffixes)
        }
        if not targeted:
            known = sorted({name for name, _ in encoder.layers[0].named_modules() if name})
            raise ConfigError(
                f"targets must be ends of the names of modules in a layer of {kind} "
                f"({', '.join(known)}); got {list(suffixes)}"
            )
        return [name for name, module in encoder.backbone.named_modules() if module in targeted]


def adapted_modules(module: nn.Module) -> Iterator[tuple[str, BaseTunerLayer]]:
    """Iterate over the adapted modules inside `module`, with their names."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, part in module.named_modules():
        if isinstance(part, BaseTunerLayer):
            yield name, part


def adapter_of(encoder: Encoder, name: str) -> list[nn.Module]:
    """Return the matrices `A` and `B` of one adapter, as modules, for all adapted layers."""
    parts = [(layer.lora_A, layer.lora_B) for _, layer in adapted_modules(encoder)]  # type: ignore[attr-defined]
    return [matrices[name] for pair in parts for matrices in pair]


def choose(encoder: Encoder, name: str) -> None:
    """Activate one adapter for the forward pass without changing `requires_grad` (PEFT would)."""
    requires_grad = {id(p): p.requires_grad for p in encoder.parameters()}
    for _, layer in adapted_modules(encoder):
        layer.set_adapter(name)
    # PEFT makes only the active adapter trainable, but the freezer decides what is trained.
    for parameter in encoder.parameters():
        parameter.requires_grad_(requires_grad[id(parameter)])


def merge(encoder: Encoder) -> None:
    """Merge the shared adapter into the weights in place, which leaves a plain encoder."""
    backbone = encoder.backbone
    for name, layer in list(adapted_modules(backbone)):
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(backbone.get_submodule(parent), child, layer.get_base_layer())
    del backbone.peft_config
    encoder.adapters = ()


def base_state(encoder: Encoder) -> dict[str, Tensor]:
    """Return the backbone's state without adapters, under the names of the plain backbone."""
    state = encoder.backbone.state_dict()
    return {k.replace(BASE, "."): t.contiguous() for k, t in state.items() if MARK not in k}


def adapter_state(encoder: Encoder) -> dict[str, Tensor]:
    """Return the state of all adapters."""
    return {k: t.contiguous() for k, t in encoder.backbone.state_dict().items() if MARK in k}


def encode_per_task(
    encoder: Encoder, tokens: Tokens, *, every_layer: bool = False
) -> dict[str, Encoded]:
    """Encode the same texts once with each task's adapter.

    The layers below the first adapted layer are computed only once, because their outputs are the
    same for all tasks.

    Args:
        encoder: Encoder with one adapter per task.
        tokens: The tokenized texts.
        every_layer: Whether to keep the output of every layer.

    Returns:
        Task -> encoded texts.
    """

    def encode(task: str) -> Encoded:
        """Encode the texts with the adapter of one task."""
        choose(encoder, task)
        encoded: Encoded = encoder(tokens, every_layer=every_layer)
        return encoded

    shared = list(takewhile(lambda layer: not any(adapted_modules(layer)), encoder.layers))
    outputs: dict[nn.Module, Any] = {}
    with ExitStack() as undo:
        for layer in shared:
            hook = layer.register_forward_hook(
                lambda module, args, output: outputs.update({module: output})
            )
            undo.callback(hook.remove)
        first, *others = encoder.adapters
        encoded = {first: encode(first)}
        for layer in shared:
            layer.forward = partial(_replay, outputs[layer])
            undo.callback(delattr, layer, "forward")
        return encoded | {task: encode(task) for task in others}


def _replay(output: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the stored output of a layer instead of computing it."""
    return output
