"""Load encoders: from the Hub, from a folder with safetensors, or a small random BERT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError
from candelabra.model import attention
from candelabra.model.dropout import CONFIG_KEYS, set_rates
from candelabra.model.encoder import Encoder
from candelabra.model.encoder_files import (
    MINILM,
    MINILM_SHA256,
    PACKAGE,
    explained_loading,
    package_folder,
    verify,
)
from candelabra.model.sentence_folder import (
    encoder_folder,
    is_sentence_folder,
    lower_cases,
    room,
)
from candelabra.model.sentence_hub import sentence_home
from candelabra.model.tokenizer_checks import add_lower_case, check_kind, check_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OWN_NAMES = ("auto", attention.NAME)
"""Values of `attention` that transformers does not know."""


class Backbone(Protocol):
    """Interface of the options of the encoder group."""

    def tokenizer(self) -> TextTokenizer:
        """Return the tokenizer, without loading the weights."""

    def load(self) -> Encoder:
        """Return the encoder with its weights."""

    def load_with_words(self) -> tuple[Encoder, PreTrainedModel]:
        """Return the encoder, and the model for masked words that it is part of."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Pretrained backbone, which is not loaded yet.

    Attributes:
        name: Hub id, folder, or `package:NAME/FOLDER` inside an installed package.
        revision: Hub revision. If it is not pinned, a later upload may change the results.
        sha256: Required checksum of `model.safetensors` in a package or folder; `None` disables
            the check.
        max_length: Maximum number of tokens in a text, including special tokens.
        truncation: Part of a longer text to keep: `head`, `tail` or `head_tail`.
        attention: Name of an attention in transformers, or `blocks`, or `auto` for the fastest on
            the device.
        dropout: Dropout probability of hidden states; `None` keeps that of the checkpoint.
        attention_dropout: Dropout probability of attention weights; `None` keeps that of the
            checkpoint.
        bit_dropout: Whether dropout on a CPU uses cheap random bits.
        local: Whether `name` must be a folder. Otherwise a name that is not a folder is looked up
            on the Hub.
        prompt: Text in front of each text; `None` or an empty text for none.
        random_seed: Seed of random weights for the same architecture; `None` loads the pretrained
            weights.
    """

    name: str
    max_length: int
    revision: str | None = None
    sha256: str | None = None
    truncation: str = "head"
    attention: str = "auto"
    dropout: float | None = None
    attention_dropout: float | None = None
    bit_dropout: bool = True
    local: bool = False
    prompt: str | None = None
    random_seed: int | None = None

    def tokenizer(self) -> TextTokenizer:
        """Return the tokenizer of the backbone.

        Raises:
            ConfigError: If the tokenizer is missing or does not fit the model, the model is an
                encoder-decoder, or `max_length` exceeds its number of positions.
        """
        from transformers import AutoConfig, AutoTokenizer

        source, revision = self._located(verified=False)
        with explained_loading(self.name):
            tokenizer = AutoTokenizer.from_pretrained(
                source, revision=revision, trust_remote_code=False
            )
            config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
        check_kind(self.name, config)
        check_tokenizer(self.name, tokenizer, config)
        _check_length(self.max_length, config)
        if self._home is not None and lower_cases(self._home):
            add_lower_case(tokenizer)
        return TextTokenizer(
            tokenizer,
            max_length=self.max_length,
            truncation=self.truncation,
            prompt=self.prompt or "",
        )

    def load(self) -> Encoder:
        """Return the encoder with its weights, in float32.

        Raises:
            ConfigError: If the checksum of the weights differs or cannot be verified, or there are
                no safetensors.
        """
        from transformers import AutoModel

        return self._encoder(self._model(AutoModel))

    def load_with_words(self) -> tuple[Encoder, PreTrainedModel]:
        """Return the encoder, and the model for masked words that it is part of.

        The layers over the vocabulary are those of the checkpoint, or random if it has none.

        Raises:
            ConfigError: As for `load`, or transformers has no such model of this kind.
        """
        from transformers import AutoModelForMaskedLM

        whole = self._model(AutoModelForMaskedLM)
        return self._encoder(whole.base_model), whole  # type: ignore[arg-type]

    def _model(self, kind: Any) -> PreTrainedModel:
        """Return a model of transformers with its weights; `kind` is a class such as AutoModel."""
        from transformers import AutoConfig

        source, revision = self._located(verified=True)
        with explained_loading(self.name):
            config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
        set_rates(config, _rates(self))
        if self.random_seed is not None:
            with torch.random.fork_rng(devices=[]), explained_loading(self.name):
                torch.manual_seed(self.random_seed)
                model: PreTrainedModel = kind.from_config(config)
                return model
        with explained_loading(self.name):
            model, loading = kind.from_pretrained(
                source,
                config=config,
                revision=revision,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation=None if self.attention in OWN_NAMES else self.attention,
                ignore_mismatched_sizes=True,  # reported below, with the names and shapes
                output_loading_info=True,
            )
        for key, there, here in sorted(loading["mismatched_keys"]):
            raise ConfigError(
                f"name={self.name}: config.json is not that of the weights: "
                f"{key} is {list(there)} in the file, and {list(here)} by config.json"
            )
        # transformers uses random weights for what is missing.
        inside = "" if model.base_model is model else f"{model.base_model_prefix}."
        missing = {
            key.removeprefix(inside) for key in loading["missing_keys"] if key.startswith(inside)
        }
        lost = sorted(key for key in missing if not key.startswith("pooler."))
        if lost:
            raise ConfigError(
                f"name={self.name}: must have all weights of {type(model.base_model).__name__}; "
                f"missing: {lost[0]}" + (f" and {len(lost) - 1} more" if lost[1:] else "")
            )
        if missing:
            model.pooler = None  # type: ignore[assignment]
        return model

    def _encoder(self, backbone: PreTrainedModel) -> Encoder:
        encoder = Encoder(backbone, attention=self.attention, bit_dropout=self.bit_dropout)
        encoder.sentence_folder = self._home
        return encoder

    @property
    def _home(self) -> Path | None:
        """Return the folder if SentenceTransformer has saved it, of this machine or the Hub."""
        if self.local or self.sha256 is not None or self.name.startswith(PACKAGE):
            return Path(self.name) if is_sentence_folder(self.name) else None
        return sentence_home(self.name, self.revision)

    def _located(self, *, verified: bool) -> tuple[str, str | None]:
        """Return the folder or Hub id to load from, and the Hub revision."""
        if self.name.startswith(PACKAGE):
            folder = package_folder(self.name.removeprefix(PACKAGE))
        elif Path(self.name).is_dir():
            folder = encoder_folder(Path(self.name))
        elif self.local:
            raise ConfigError(f"name={self.name}: no such folder")
        elif self.sha256 is not None:
            raise ConfigError(
                f"sha256 verifies packages and folders only, {self.name} is neither; "
                "pin revision instead"
            )
        else:
            home = self._home
            if home is None or encoder_folder(home) == home:
                return self.name, self.revision
            folder = encoder_folder(home)
        if self.name == MINILM:
            for name, sha256 in MINILM_SHA256.items():
                verify(folder / name, sha256)
        if verified and self.sha256 is not None:
            verify(folder / "model.safetensors", self.sha256)
        return str(folder), None


def _rates(settings: Pretrained | Tiny) -> dict[str, float | None]:
    return {key: getattr(settings, key) for key in CONFIG_KEYS}


def _check_length(max_length: int, config: object) -> None:
    names = ("max_position_embeddings", "pad_token_id", "model_type")
    # Not of its dictionary: some kinds have another name for the positions there.
    most = room({name: getattr(config, name, None) for name in names})
    if most is not None and max_length > most:
        raise ConfigError(f"max_length must be at most {most}, got {max_length}")


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """Small random BERT with the bundled tokenizer, for tests and debugging.

    Attributes:
        max_length: Maximum number of tokens in a text, including special tokens.
        width: Width of the token embeddings.
        num_layers: Number of transformer layers.
        truncation: As in `Pretrained`.
        dropout: Dropout probability of hidden states; `None` keeps that of BERT.
        attention_dropout: Dropout probability of attention weights; `None` keeps that of BERT.
        bit_dropout: As in `Pretrained`.
        seed: Seed of the random weights.
        name: Backbone whose tokenizer is used.
    """

    max_length: int = 64
    width: int = 32
    num_layers: int = 2
    truncation: str = "head"
    dropout: float | None = None
    attention_dropout: float | None = None
    bit_dropout: bool = True
    seed: int = 0
    name: str = MINILM

    def tokenizer(self) -> TextTokenizer:
        """Return the tokenizer of the bundled MiniLM."""
        bundled = Pretrained(name=self.name, max_length=self.max_length, truncation=self.truncation)
        return bundled.tokenizer()

    def load(self) -> Encoder:
        """Return an untrained encoder, which depends on the seed alone."""
        from transformers import BertModel

        return Encoder(self._model(BertModel), bit_dropout=self.bit_dropout)

    def load_with_words(self) -> tuple[Encoder, PreTrainedModel]:
        """Return an untrained encoder, and the model for masked words that it is part of."""
        from transformers import BertForMaskedLM

        whole = self._model(BertForMaskedLM)
        encoder = Encoder(whole.base_model, bit_dropout=self.bit_dropout)  # type: ignore[arg-type]
        return encoder, whole

    def _model(self, kind: Callable[[Any], PreTrainedModel]) -> PreTrainedModel:
        """Return a random model of a class of transformers, which depends on the seed alone."""
        from transformers import BertConfig

        config = BertConfig(
            hidden_size=self.width,
            num_hidden_layers=self.num_layers,
            num_attention_heads=2,
            intermediate_size=2 * self.width,
            max_position_embeddings=512,
        )
        set_rates(config, _rates(self))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return kind(config)
