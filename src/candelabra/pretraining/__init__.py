"""Methods of pre-training an encoder on texts without labels."""

from candelabra.pretraining.base import PretrainingHead, PretrainingMethod
from candelabra.pretraining.masked_words import MaskedWords
from candelabra.pretraining.tsdae import Tsdae

__all__ = ["MaskedWords", "PretrainingHead", "PretrainingMethod", "Tsdae"]
