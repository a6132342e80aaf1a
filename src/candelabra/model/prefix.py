"""The lowest part of an encoder as long as it is frozen: its output for a text never changes."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

    from candelabra.model.encoder import Encoder
    from candelabra.model.multitask import MultiTaskModel

UNRELATED = re.compile(r"_.*|transformers_version|dtype|.*dropout.*")
"""Keys of an encoder's configuration that do not change what a frozen encoder computes."""


@dataclass
class FrozenPrefix:
    """Frozen part of an encoder, with the weights that its features were computed with.

    Attributes:
        digest: Hash of these weights and of the configuration of the encoder.
        live: Whether the part is still frozen and has these weights. Features are used only then.
    """

    digest: str
    live: bool = True

    def review(self, model: MultiTaskModel) -> None:
        """Set `live` after weights may have been loaded, or parts of the model have thawed."""
        self.live = is_frozen(model) and digest(model.encoder) == self.digest


def frozen_prefix(model: MultiTaskModel) -> FrozenPrefix | None:
    """Return the encoder as a frozen prefix, or `None` if parts of it are trained."""
    return FrozenPrefix(digest(model.encoder)) if is_frozen(model) else None


def is_frozen(model: MultiTaskModel) -> bool:
    """Return whether the freezer keeps the whole encoder frozen and in evaluation mode."""
    frozen = () if model.freezer is None else model.freezer.frozen
    still: set[nn.Module] = {module for part in frozen for module in part.modules()}
    return all(module in still for module in model.encoder.modules())


def digest(encoder: Encoder) -> str:
    """Return a hash of the weights of an encoder and of the configuration that uses them."""
    backbone = encoder.backbone
    found = hashlib.sha256(type(backbone).__name__.encode())
    config = {
        key: v for key, v in backbone.config.to_dict().items() if not UNRELATED.fullmatch(key)
    }
    found.update(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(backbone.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()
