"""Build the method of a pre-training, and the encoder with the head that the method needs."""

from __future__ import annotations

from candelabra.build.instantiate import Node, make
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import naming
from candelabra.model.backbones import Backbone
from candelabra.model.encoder import Encoder
from candelabra.pretraining import PretrainingHead, PretrainingMethod


def build_method(node: Node) -> PretrainingMethod:
    """Build the method of a pre-training.

    Raises:
        ConfigError: The method refuses its settings.
    """
    with naming("method", node):
        method: PretrainingMethod = make(node, "method")
    return method


def load_for(
    method: PretrainingMethod, backbone: Backbone, node: Node, tokenizer: TextTokenizer
) -> tuple[Encoder, PretrainingHead]:
    """Load the encoder of a backbone with the head that a method of pre-training needs.

    Args:
        method: The method.
        backbone: The backbone.
        node: Config node of the backbone.
        tokenizer: Tokenizer of the backbone.

    Raises:
        ConfigError: The weights are missing or do not fit the settings, or transformers has no
            model for this method of this kind.
    """
    with naming("encoder", node):
        return method.load(backbone, tokenizer)
