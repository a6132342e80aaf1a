"""Command `candelabra embed`: compute the embeddings of texts."""

from __future__ import annotations

import sys
from pathlib import Path

from candelabra.commands import models
from candelabra.commands.arguments import check_not_input, check_one_of, check_text, compose_command
from candelabra.commands.inputs import read_texts
from candelabra.embedding.vectors import WRITERS, print_vectors, write_vectors
from candelabra.errors import printable
from candelabra.files import check_output

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
  backend=onnx     onnxruntime computes the encoder, on the CPU; onnx_int8: with int8 weights,
                   smaller and faster, but with other vectors
  column=text      the column of the input that contains the text
  batch_size=64  processes=1  backend=torch  precision=auto  accelerator=auto  allow=[]
"""


def main(overrides: list[str]) -> int:
    """Embed one text or those of a file, write the vectors and return the exit status."""
    cfg, given, rest = compose_command(
        "embed", overrides, (*models.KEYS, "text", "input", "output")
    )
    models.check(cfg, given, rest)
    check_one_of("embed", given, text='text="..."', input="input=FILE")
    check_text(given.get("text", "x"))
    check_not_input(given)
    target = Path(given["output"]) if "output" in given else None
    if target is not None:
        check_output(target, WRITERS)
    texts = [given["text"]] if "text" in given else read_texts(given["input"], cfg.column)

    from candelabra.embedding.workers import vectors

    embedder = models.open_embedder(cfg, given)
    parts = vectors(embedder, texts, cfg)
    if target is None:
        print_vectors(sys.stdout, texts, parts)
    else:
        write_vectors(target, texts, parts)
        print(printable(f"{len(texts)} vectors of {embedder.width}: {target}"))
    return 0
