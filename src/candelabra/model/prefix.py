"""The lowest part of an encoder as long as it is frozen: its output for a text never changes.

Shapes: B texts, L token positions, D encoder width.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from candelabra.records import Tokens

if TYPE_CHECKING:
    from torch import nn

    from candelabra.model.encoder import Encoder
    from candelabra.model.multitask import MultiTaskModel

UNRELATED = re.compile(r"_.*|transformers_version|dtype|.*dropout.*")
"""Keys of an encoder's configuration that do not change what a frozen encoder computes."""
WHOLE = math.inf
"""Depth of a prefix that is the whole encoder."""


@dataclass
class FrozenPrefix:
    """Frozen part of an encoder, with the weights that its features were computed with.

    Attributes:
        depth: Number of its layers, or `WHOLE`.
        digest: Hash of these weights and of the configuration of the encoder.
        in_tuple: Whether a layer of the encoder returns its output in a tuple.
        live: Whether the part is still frozen and has these weights. Features are used only then.
    """

    depth: float
    digest: str
    in_tuple: bool = False
    live: bool = True

    def review(self, model: MultiTaskModel) -> None:
        """Set `live` after weights may have been loaded, or parts of the model have thawed."""
        is_frozen = frozen_depth(model) >= self.depth
        self.live = is_frozen and digest(model.encoder, self.depth) == self.digest

    @contextmanager
    def replaced(self, encoder: Encoder, features_BLD: Tensor) -> Iterator[None]:
        """Let the layers of the prefix return features instead of computing them."""
        assert self.depth != WHOLE
        output = (features_BLD,) if self.in_tuple else features_BLD
        with _returning(encoder.layers[: int(self.depth)], [output]):
            yield


def frozen_prefix(model: MultiTaskModel) -> FrozenPrefix | None:
    """Return the frozen part of the encoder, or `None` if not even the lowest layer is frozen."""
    encoder, depth = model.encoder, frozen_depth(model)
    if depth == 0:
        return None
    prefix = FrozenPrefix(depth, digest(encoder, depth))
    if depth == WHOLE:
        return prefix
    device = next(encoder.parameters()).device
    some_BL = torch.ones(1, 3, dtype=torch.long, device=device)
    with evaluating(encoder):
        output = _output(encoder, Tokens(some_BL, some_BL), int(depth))
    prefix.in_tuple = isinstance(output, tuple)
    has_more = prefix.in_tuple and any(part is not None for part in output[1:])
    return None if has_more else prefix


def frozen_depth(model: MultiTaskModel) -> float:
    """Return how many of the lowest layers the freezer keeps frozen and in evaluation mode.

    Returns:
        A number of layers; 0 if the embeddings are trained; `WHOLE` if the whole encoder is frozen.
    """
    frozen = () if model.freezer is None else model.freezer.frozen
    still: set[nn.Module] = {module for part in frozen for module in part.modules()}
    if model.encoder in still:
        return WHOLE
    if not still.issuperset(model.encoder.stem):
        return 0
    learns = [layer not in still for layer in model.encoder.layers]
    return learns.index(True) if True in learns else len(learns)


def digest(encoder: Encoder, depth: float) -> str:
    """Return a hash of the weights of an encoder's lowest part and of the configuration."""
    backbone = encoder.backbone
    found = hashlib.sha256(f"{type(backbone).__name__} {depth}".encode())
    config = {
        key: v for key, v in backbone.config.to_dict().items() if not UNRELATED.fullmatch(key)
    }
    found.update(json.dumps(config, sort_keys=True, default=str).encode())
    parts: list[nn.Module] = [backbone]
    if depth != WHOLE:
        parts = [*encoder.stem, *encoder.layers[: int(depth)]]
    for part in parts:
        for name, tensor in sorted(part.state_dict().items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()


def output_of(encoder: Encoder, tokens: Tokens, depth: float) -> Tensor:
    """Compute the output hidden_BLD of the lowest layers alone, or of the whole encoder."""
    output = encoder(tokens).hidden_BLD if depth == WHOLE else _output(encoder, tokens, int(depth))
    first: Tensor = output[0] if isinstance(output, tuple) else output
    return first


@contextmanager
def evaluating(encoder: Encoder) -> Iterator[None]:
    """Put an encoder into evaluation mode, and each of its modules back into its own afterwards."""
    modes = {module: module.training for module in encoder.modules()}
    encoder.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@torch.no_grad()
def _output(encoder: Encoder, tokens: Tokens, depth: int) -> Any:
    """Return what the highest of the lowest layers returns; those above compute nothing."""
    outputs: list[Any] = []
    hook = encoder.layers[depth - 1].register_forward_hook(
        lambda module, args, output: outputs.append(output)
    )
    try:
        with _returning(encoder.layers[depth:], outputs):
            encoder.forward_padded(tokens)
    finally:
        hook.remove()
    return outputs[0]


@contextmanager
def _returning(layers: Sequence[nn.Module], outputs: Sequence[Any]) -> Iterator[None]:
    """Let layers return the first of the outputs, which may be added later."""
    with ExitStack() as undo:
        for layer in layers:
            layer.forward = partial(_first, outputs)
            undo.callback(delattr, layer, "forward")
        yield


def _first(outputs: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
    """Return the first output, whatever a layer is called with."""
    return outputs[0]
