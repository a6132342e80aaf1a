"""Command `candelabra similarity`: cosine similarities of texts, for one or two models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from candelabra.commands import models as embedders
from candelabra.commands.arguments import check_one_of, check_text, compose, compose_command
from candelabra.commands.inputs import read_texts
from candelabra.commands.models import encoders
from candelabra.errors import ConfigError, printable
from candelabra.files import check_output
from candelabra.model.sentence_folder import is_sentence_folder

if TYPE_CHECKING:
    import numpy as np

HELP = """candelabra similarity text="..." text="..." ... | input=FILE

  text="..."       given two or more times; or
  input=FILE       .txt (one text per line), .jsonl, .csv, .tsv or .parquet; - is standard input
  output=FILE      a heat map, .png, .pdf or .svg, or the numbers, .csv
  against=OTHER    a second model to compare: an encoder such as bert_nli, or a bundle
  bundle=FOLDER    a trained model; task=NAME selects the pooling of a task
  encoder=minilm pooling=mean
                   without a bundle: a pretrained encoder
  column=text      the column of the input that contains the text
  truncate_dim=null  batch_size=64  backend=torch  precision=auto  accelerator=auto  allow=[]

The numbers are cosines, from -1 to 1; 1 is the same direction.
"""

PICTURES = (".png", ".pdf", ".svg")
Model = tuple[DictConfig, Mapping[str, str], Sequence[str]]
"""A configuration, the verbatim values, and the overrides that it was composed from."""
MAX_TEXTS = 50
"""Maximum number of texts, limited by what a table or heat map can show."""


def main(overrides: list[str]) -> int:
    """Print the cosine matrices, write the output file and return the exit status."""
    typed = [word.removeprefix("text=") for word in overrides if word.startswith("text=")]
    keys = (*embedders.KEYS, "text", "input", "output", "against")
    cfg, given, rest = compose_command("similarity", overrides, keys, several=("text",))
    check_one_of("similarity", given, text='text="..." text="..."', input="input=FILE")
    embedders.check(cfg, given, rest)
    target = _target(given.get("output"))
    models = [(cfg, given, rest), *_second_model(given.get("against"), rest)]
    texts = _texts(typed, given.get("input"), cfg.column)

    from candelabra.embedding import heat_map
    from candelabra.tables import show

    if len(texts) > heat_map.NUMBERED and target is None:
        raise ConfigError(
            f"a table shows up to {heat_map.NUMBERED} texts, found {len(texts)}: add output=FILE"
        )
    if len({_name(given, words) for _, given, words in models}) < len(models):
        raise ConfigError(f"against={given['against']}: is the same model as the first")
    by_name = {_name(given, words): _cosines(texts, cfg, given) for cfg, given, words in models}
    if len(texts) <= heat_map.NUMBERED:
        named = zip(heat_map.titles(list(by_name)), by_name.values(), strict=True)
        show(*(heat_map.table(cosines, texts, title=title) for title, cosines in named))
    if target is not None:
        heat_map.write(target, by_name, texts)
        print(printable(f"written: {target}"))
    return 0


def _target(name: str | None) -> Path | None:
    if name is None:
        return None
    check_output(Path(name), (*PICTURES, ".csv"))
    return Path(name)


def _second_model(name: str | None, rest: Sequence[str]) -> list[Model]:
    """Resolve the second model, an option of the config group `encoder` or a bundle.

    Raises:
        BundleError: The folder is not a bundle.
        ConfigError: The name is neither an encoder nor a folder.
    """
    if name is None:
        return []
    words = [word for word in rest if not word.startswith(("encoder", "task"))]
    options = encoders(rest)
    if name in options:
        words.append(f"encoder={name}")
        return [(compose("similarity", words), {}, words)]
    if not Path(name).is_dir():
        raise ConfigError(f"against={name}: no such folder, and no encoder ({', '.join(options)})")
    cfg, given = compose("similarity", words), {"bundle": name}
    embedders.check(cfg, given, [])
    return [(cfg, given, words)]


def _texts(typed: list[str], file: str | None, column: str) -> list[str]:
    texts = typed if file is None else read_texts(file, column)
    for text in texts:
        check_text(text)
    if not 2 <= len(texts) <= MAX_TEXTS:
        raise ConfigError(
            f"similarity takes 2 to {MAX_TEXTS} texts, found {len(texts)}; see search"
        )
    return texts


def _name(given: Mapping[str, str], words: Sequence[str]) -> str:
    """Return the title of a model in tables and heat maps, from its command-line settings."""
    if "bundle" in given:
        return given["bundle"] + (f", task {given['task']}" if "task" in given else "")
    typed = dict(word.split("=", 1) for word in words if word.startswith(("encoder", "pooling")))
    # A folder saved by SentenceTransformer has a pooling of its own.
    own = is_sentence_folder(typed.get("encoder.name", ""))
    option = typed.pop("encoder", "minilm")
    pooling = typed.pop("pooling", "its own pooling" if own else "mean")
    return ", ".join([option, pooling, *(f"{key}={value}" for key, value in typed.items())])


def _cosines(texts: list[str], cfg: DictConfig, given: Mapping[str, str]) -> np.ndarray:
    """Return the cosine similarities (N, N) of the texts."""
    from dataclasses import replace

    from candelabra import hardware

    embedder = replace(embedders.open_embedder(cfg, given), normalize=True)
    device = hardware.device_type(cfg.accelerator)
    precision = hardware.precision(cfg.precision, device)
    vectors_ND = embedder.embed(texts, batch_size=cfg.batch_size, precision=precision)
    return vectors_ND @ vectors_ND.T
