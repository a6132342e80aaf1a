"""Command `candelabra mine`: mine negatives for pairs of texts, or pairs from documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from candelabra.commands import models
from candelabra.commands.arguments import check_not_input, check_one_of, compose_command
from candelabra.commands.inputs import read_texts
from candelabra.config.keys import check_known_keys
from candelabra.errors import ConfigError, DataError, printable
from candelabra.files import check_output
from candelabra.mining import pair_files
from candelabra.mining.recipes import Recipe, recipe_of

if TYPE_CHECKING:
    from candelabra.mining.negatives import PrecomputedEmbeddings, Triplets

HELP = """candelabra mine input=FILE output=FILE [negatives=easy|semi_hard|hard]
                documents=FILE output=FILE

  input=FILE       pairs of matching texts: .parquet, .jsonl, .csv or .tsv
  columns.anchor=premise columns.positive=hypothesis
                   its columns, if not named anchor and positive
  only=label=0     uses only rows with this value in this column
  output=FILE      .parquet or .jsonl with the columns anchor, positive, negative
  documents=FILE   writes pairs of consecutive sentences as anchor and positive
  negatives=hard   the most similar texts that are 5% less similar than the positive; semi_hard:
                   random texts of rank 11 to 100; easy: random texts
  num_negatives=1  sampling=top|random  range_min=0  range_max=NUMBER
  relative_margin=0.05  absolute_margin=NUMBER  max_score=NUMBER  min_score=NUMBER
                   limits of a negative's cosine with the anchor
  bundle=FOLDER    embeds with a trained model; task=NAME selects the pooling of a task
  encoder=minilm pooling=mean
                   without a bundle: a pretrained encoder
  seed=0  min_words=3  column=text  truncate_dim=null  batch_size=64  processes=1
  backend=torch  precision=auto  accelerator=auto  allow=[]

A positive of an anchor, ignoring case and spaces, is never one of its negatives.
"""

WORDS = (*models.KEYS, "input", "documents", "output", "only")
SHOWN = 5
"""Number of triplets or pairs that are printed."""
MEASURED = 1000
"""Number of triplets whose cosines are computed for easy negatives.

Easy negatives are drawn without vectors, so only a sample of the texts is embedded.
"""


def main(overrides: list[str]) -> int:
    """Write a data set, print examples and statistics of it, and return the exit status."""
    cfg, given, rest = compose_command("mine", overrides, WORDS)
    models.check(cfg, given, rest)
    target = _check_settings(cfg, given)
    if "documents" in given:
        return _write_pairs(cfg, given["documents"], target)
    recipe = recipe_of(cfg.negatives, cfg)
    read = pair_files.read_pairs(Path(given["input"]), cfg.columns, given.get("only"))
    pairs = pair_files.unique_pairs(read)
    if not pairs.pairs:
        raise DataError(f"{given['input']}: no pair of two different texts")
    triplets = _mine_triplets(cfg, given, pairs.pairs, recipe, target)
    without = len({anchor for anchor, _ in pairs.pairs} - set(triplets.anchors))
    print(
        f"pairs read: {len(read)}; dropped: {pairs.repeated} repeated, {pairs.same} of equal "
        f"texts; anchors without a negative: {without}"
    )
    print(printable(f"{len(triplets)} triplets: {target}"))
    return 0


def _check_settings(cfg: DictConfig, given: Mapping[str, str]) -> Path:
    """Check all settings and return the path of the output."""
    check_one_of("mine", given, input="input=FILE", documents="documents=FILE")
    if "output" not in given:
        raise ConfigError("mine needs output=FILE")
    if "only" in given and ("=" not in given["only"] or "documents" in given):
        raise ConfigError("only=COLUMN=VALUE chooses rows of input=FILE")
    if cfg.normalize is False:
        raise ConfigError("mine compares by cosines: drop normalize=false")
    check_known_keys("columns", cfg.columns, ("anchor", "positive"))
    if set(cfg.columns) != {"anchor", "positive"}:
        raise ConfigError(f"columns must name anchor and positive, got {dict(cfg.columns)}")
    check_not_input(given, keys=("input", "documents"))
    target = Path(given["output"])
    check_output(target, pair_files.WRITERS)
    return target


def _write_pairs(cfg: DictConfig, file: str, target: Path) -> int:
    """Write pairs of consecutive sentences of documents."""
    documents = read_texts(file, cfg.column)
    unique = pair_files.unique_pairs(
        pair_files.neighbouring_sentences(documents, min_words=cfg.min_words)
    )
    if not unique.pairs:
        raise DataError(f"{file}: no document has two sentences of {cfg.min_words} words in a row")
    anchors, positives = (list(side) for side in zip(*unique.pairs, strict=True))
    columns = {"anchor": anchors, "positive": positives}
    pair_files.write_rows(target, columns)
    _show_rows(columns, seed=cfg.seed)
    print(
        f"documents: {len(documents)}; dropped: {unique.repeated} repeated pairs, {unique.same} of "
        "equal texts"
    )
    print(printable(f"{len(anchors)} pairs: {target}"))
    return 0


def _mine_triplets(
    cfg: DictConfig,
    given: Mapping[str, str],
    pairs: Sequence[pair_files.Pair],
    recipe: Recipe,
    target: Path,
) -> Triplets:
    """Mine triplets, write them and print examples and statistics."""
    from candelabra.mining import negatives

    embeddings = None
    if cfg.negatives == "easy":
        triplets = negatives.sample_negatives(pairs, recipe.num_negatives, seed=cfg.seed)
    else:
        embeddings = _embed_distinct(cfg, given, pairs)
        triplets = negatives.mine_negatives(pairs, embeddings, recipe, seed=cfg.seed)
    if not triplets.anchors:
        raise DataError(
            f"{given['input']}: no anchor has a negative among {len(pairs)} pairs; lower "
            "range_min or the margins, raise range_max, or give more pairs"
        )
    pair_files.write_rows(target, triplets.columns())
    _show_rows(triplets.columns(), seed=cfg.seed)
    measured = triplets
    if embeddings is None:
        measured = triplets.sample(MEASURED, seed=cfg.seed)
        embeddings = _embed_distinct(cfg, given, zip(*measured.columns().values(), strict=True))
    _show_cosines(measured, embeddings)
    return triplets


def _embed_distinct(
    cfg: DictConfig, given: Mapping[str, str], rows: Iterable[tuple[str, ...]]
) -> PrecomputedEmbeddings:
    """Embed every distinct text of pairs or triplets."""
    from dataclasses import replace

    import numpy as np

    from candelabra.embedding.workers import vectors
    from candelabra.mining.negatives import PrecomputedEmbeddings

    embedder = replace(models.open_embedder(cfg, given), normalize=True)
    texts = list(dict.fromkeys(text for row in rows for text in row))
    return PrecomputedEmbeddings(texts, np.concatenate(list(vectors(embedder, texts, cfg))))


def _show_cosines(triplets: Triplets, embeddings: PrecomputedEmbeddings) -> None:
    """Print the mean and quantiles of the cosines with the anchor."""
    import numpy as np
    from rich.table import Table

    from candelabra.tables import format_number, show

    positive = embeddings.cosines(triplets.anchors, triplets.positives)
    negative = embeddings.cosines(triplets.anchors, triplets.negatives)
    title = f"cosine with the anchor, {len(triplets)} triplets"
    table = Table(title=title, title_justify="left")
    for name in ("", "mean", "5%", "25%", "50%", "75%", "95%"):
        table.add_column(name, justify="right" if name else "left")
    cosines = {"positive": positive, "negative": negative, "difference": positive - negative}
    for name, values in cosines.items():
        numbers = [values.mean(), *np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])]
        table.add_row(name, *map(format_number, numbers))
    show(table)


def _show_rows(columns: Mapping[str, Sequence[str]], *, seed: int) -> None:
    """Print a few random rows."""
    import random

    from rich.table import Table
    from rich.text import Text

    from candelabra.tables import show

    table = Table(title="examples", title_justify="left", expand=True)
    for name in columns:
        table.add_column(name, ratio=1, overflow="ellipsis", no_wrap=True)
    rows = list(zip(*columns.values(), strict=True))
    for row in random.Random(seed).sample(rows, min(SHOWN, len(rows))):
        table.add_row(*(Text(" ".join(text.split())) for text in row))
    show(table)
