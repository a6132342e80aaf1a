from __future__ import annotations

from pathlib import Path

import pytest
from transformers import CLIPConfig, PreTrainedTokenizerFast, T5Config, ViTConfig, XLNetConfig

from candelabra.errors import ConfigError
from candelabra.model.backbones import Pretrained, Tiny
from helpers.small_models import KINDS, save_encoder, small_backbone


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [[], ["tokenizer_config.json"]], ids=["none", "its config"])
def test_a_folder_without_its_tokenizer_is_refused(
    kind: str, left: list[str], tmp_path: Path
) -> None:
    folder = save_encoder(tmp_path, kind)
    for file in ("tokenizer.json", "vocab.txt", "special_tokens_map.json", "tokenizer_config.json"):
        if file not in left:
            (folder / file).unlink(missing_ok=True)
    with pytest.raises(ConfigError, match=f"name={folder}: ") as caught:
        Pretrained(name=str(folder), max_length=16).tokenizer()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_the_missing_tokenizer_is_named(kind: str, tmp_path: Path) -> None:
    """transformers makes one without words for BERT, and none for ModernBERT."""
    small_backbone(kind).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="has no tokenizer"):
        Pretrained(name=str(tmp_path), max_length=16).tokenizer()


def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    small_backbone().save_pretrained(tmp_path)
    tokenizer = Tiny().tokenizer().tokenizer
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=f"below 60, .*, got {len(tokenizer) - 1}"):
        Pretrained(name=str(tmp_path), max_length=16).tokenizer()


def test_a_tokenizer_without_padding_is_refused(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path, "bert")
    backend = Tiny().tokenizer().tokenizer.backend_tokenizer
    backend.no_padding()
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(folder)
    with pytest.raises(ConfigError, match="must have a padding token, got none"):
        Pretrained(name=str(folder), max_length=16).tokenizer()


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    tokenizer = Tiny().tokenizer().tokenizer
    T5Config(vocab_size=len(tokenizer), d_model=16, num_layers=1).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"must be an encoder, got an encoder-decoder \(.*t5\)"):
        Pretrained(name=str(tmp_path), max_length=16).tokenizer()


def test_a_model_of_images_is_refused(tmp_path: Path) -> None:
    Tiny().tokenizer().tokenizer.save_pretrained(tmp_path)
    for config in (ViTConfig(hidden_size=16), CLIPConfig()):
        config.save_pretrained(tmp_path)
        with pytest.raises(ConfigError, match=r"must be an encoder of texts, got another model"):
            Pretrained(name=str(tmp_path), max_length=16).tokenizer()


def test_relative_positions_have_no_limit(tmp_path: Path) -> None:
    tokenizer = Tiny().tokenizer().tokenizer
    XLNetConfig(vocab_size=len(tokenizer), d_model=16, n_head=2).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert Pretrained(name=str(tmp_path), max_length=900).tokenizer().max_length == 900
