"""Checks that an encoder's tokenizer and kind fit, when its folder or Hub repository is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from candelabra.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


def check_kind(name: str, config: PreTrainedConfig) -> None:
    """Raise an error if the model is an encoder-decoder, or does not read texts.

    Args:
        name: Name of the encoder, for the message.
        config: Configuration of the model.

    Raises:
        ConfigError: If the model has a decoder, which needs an input of its own, or has no
            vocabulary, as a model of images.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise ConfigError(
            f"name={name}: must be an encoder, got an encoder-decoder "
            f"(model_type {config.model_type})"
        )
    if not (hasattr(config, "vocab_size") and hasattr(config, "hidden_size")):
        raise ConfigError(
            f"name={name}: must be an encoder of texts, got another model "
            f"(model_type {config.model_type})"
        )


def check_tokenizer(
    name: str, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig
) -> None:
    """Raise an error if the tokenizer is missing or does not fit the embedding table.

    transformers makes a tokenizer without any words where a folder holds no tokenizer files. Every
    word would then be unknown, and no error would be raised.

    Args:
        name: Name of the encoder, for the message.
        tokenizer: The tokenizer.
        config: Configuration of the model.

    Raises:
        ConfigError: If the tokenizer has no words, no padding token, no unknown token although its
            kind needs one, or ids beyond the embedding table.
    """
    vocabulary = tokenizer.get_vocab()
    if set(vocabulary) <= set(tokenizer.all_special_tokens):
        raise ConfigError(
            f"name={name}: has no tokenizer (or no vocabulary in it); save it there with "
            "tokenizer.save_pretrained(FOLDER)"
        )
    if tokenizer.pad_token_id is None:
        raise ConfigError(f"name={name}: its tokenizer must have a padding token, got none")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    unknown = getattr(getattr(backend, "model", None), "unk_token", None)
    if unknown is not None and unknown not in vocabulary:
        raise ConfigError(
            f"name={name}: its tokenizer must have its unknown token {unknown!r} in the "
            "vocabulary, got none"
        )
    size, highest = getattr(config, "vocab_size", None), max(vocabulary.values())
    if size is not None and highest >= size:
        raise ConfigError(
            f"name={name}: token ids must be below {size}, the size of the embedding "
            f"table, got {highest}: the tokenizer belongs to another model"
        )


def add_lower_case(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a fast tokenizer convert texts to lower case first, unless it does so already."""
    from tokenizers import normalizers

    backend = tokenizer.backend_tokenizer
    before = backend.normalizer
    lower = normalizers.Lowercase()
    known = "" if before is None else before.__getstate__().decode()
    if '"lowercase":true' in known or '"type":"Lowercase"' in known:
        return
    parts = [lower] if before is None else [lower, before]
    backend.normalizer = normalizers.Sequence(parts)
