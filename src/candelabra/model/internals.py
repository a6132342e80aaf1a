"""Private members of transformers that candelabra reads; no other module reads any.

transformers has no public names for these. `tests/model/test_internals.py` notices a version that
renames them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def attention_name(backbone: PreTrainedModel) -> str:
    """Return the name of the attention implementation that the model uses."""
    return str(backbone.config._attn_implementation)


def supports_sdpa(backbone: PreTrainedModel) -> bool:
    """Return whether the architecture runs on PyTorch's scaled dot-product attention."""
    return bool(backbone._supports_sdpa)


def supports_other_attention(backbone: PreTrainedModel) -> bool:
    """Return whether the architecture runs on attention functions registered by others."""
    return bool(backbone._supports_attention_backend)


def is_causal(backbone: PreTrainedModel) -> bool:
    """Return whether each token attends to the tokens before it alone, as in a decoder."""
    return any(getattr(module, "is_causal", False) is True for module in backbone.modules())
