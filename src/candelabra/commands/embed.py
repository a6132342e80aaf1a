"""Command `candelabra embed`: compute the embeddings of texts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from candelabra.commands import embedders
from candelabra.commands.texts import read_texts
from candelabra.commands.verbatim import asked
from candelabra.embedding.vectors import WRITERS, print_vectors, write_vectors
from candelabra.errors import ConfigError
from candelabra.output import check_output
from candelabra.rules import either, not_the_input

if TYPE_CHECKING:
    import numpy as np

    from candelabra.embedding.embedder import Embedder

HELP = """candelabra embed text="..." | input=FILE [output=FILE]

  text="..."       one text
  input=FILE       .txt (one text per line), .jsonl, .csv, .tsv or .parquet; - is standard input
  output=FILE      .npy (the vectors), .parquet or .jsonl (text and embedding);
                   without it, JSON Lines are printed to standard output
  bundle=FOLDER    embeds with a trained model; task=NAME selects the pooling of a task
  encoder=minilm pooling=mean
                   without a bundle: a pretrained encoder
  normalize=false  does not scale vectors to unit length
  truncate_dim=128 keeps only the first dimensions
  column=text      the column of the input that contains the text
  batch_size=64  processes=1  precision=32-true  accelerator=auto  allow=[]
"""


def main(overrides: list[str]) -> int:
    """Embed one text or those of a file, write the vectors and return the exit status."""
    cfg, given, rest = asked("embed", overrides, (*embedders.KEYS, "text", "input", "output"))
    embedders.check(cfg, given, rest)
    either("embed", given, text='text="..."', input="input=FILE")
    if not given.get("text", "x").strip():
        raise ConfigError("text must not be empty")
    not_the_input(given)
    target = Path(given["output"]) if "output" in given else None
    if target is not None:
        check_output(target, WRITERS)
    texts = [given["text"]] if "text" in given else read_texts(given["input"], cfg.column)

    embedder = embedders.opened(cfg, given)
    parts = vectors(embedder, texts, cfg)
    if target is None:
        print_vectors(sys.stdout, texts, parts)
    else:
        write_vectors(target, texts, parts)
        print(f"{len(texts)} vectors of {embedder.width}: {target}")
    return 0


def vectors(embedder: Embedder, texts: Sequence[str], cfg: DictConfig) -> Iterator[np.ndarray]:
    """Embed texts chunk by chunk, with a progress bar on standard error.

    Args:
        embedder: Model that embeds the texts.
        texts: N texts.
        cfg: Configuration of the command: batch size, processes, precision and accelerator.

    Yields:
        The vectors of consecutive texts, of shape (chunk, D).
    """
    from rich.console import Console
    from rich.progress import Progress

    from candelabra import hardware
    from candelabra.embedding.pool import embed_in_processes

    device = hardware.device_type(cfg.accelerator)
    settings = {
        "batch_size": cfg.batch_size,
        "precision": hardware.precision(cfg.precision, device),
    }
    console, done = Console(stderr=True), 0
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("embedding", total=len(texts))
        if cfg.processes > 1:
            parts = embed_in_processes(embedder, texts, processes=cfg.processes, **settings)
        else:
            parts = embedder.chunks(texts, told=partial(progress.advance, bar), **settings)
        for part in parts:
            done += len(part)
            progress.update(bar, completed=done)  # repeated texts are embedded once, but count too
            yield part
