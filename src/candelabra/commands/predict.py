"""Command `candelabra predict`: predictions of a bundle for a text or a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candelabra.bundle.folder import checked_folder
from candelabra.commands import models
from candelabra.commands.arguments import check_not_input, check_one_of, check_text, compose_command
from candelabra.commands.inputs import read_texts
from candelabra.errors import ConfigError, printable
from candelabra.files import check_output, writing

if TYPE_CHECKING:
    from candelabra.bundle.bundle import Bundle

HELP = """candelabra predict bundle=FOLDER text="..." | input=FILE output=FILE

  bundle=FOLDER    a bundle, or a run folder that contains one
  text="..."       one text; its predictions are printed as JSON
  input=FILE       .txt (one text per line), .jsonl, .csv, .tsv or .parquet; - is standard input
  output=FILE      JSON Lines, one line for each text, in the order of the input
  column=text      the column of the input that contains the text
  batch_size=64  backend=torch  precision=auto  accelerator=auto  allow=[]
"""

CHUNK = 4096
"""Number of texts that are sorted by length, predicted and written together."""


def main(overrides: list[str]) -> int:
    """Print the predictions for one text or write those for a file; return the exit status."""
    cfg, given, _ = compose_command("predict", overrides, ("bundle", "text", "input", "output"))
    _check(given)
    models.check_backend(cfg)
    checked_folder(Path(given["bundle"]))
    texts = [given["text"]] if "text" in given else read_texts(given["input"], cfg.column)

    from candelabra import hardware
    from candelabra.bundle.bundle import load
    from candelabra.quiet import quiet

    quiet()
    device = hardware.device_type(cfg.accelerator)
    precision = hardware.precision(cfg.precision, device)
    bundle = load(given["bundle"], allow=list(cfg.allow), device=device)
    models.use_backend(cfg, bundle)
    if "text" in given:
        (prediction,) = bundle.predict(texts, precision=precision)
        print(printable(json.dumps(prediction, indent=2, ensure_ascii=False)))
        return 0
    predictions = _predict(bundle, texts, batch_size=cfg.batch_size, precision=precision)
    _write(Path(given["output"]), predictions)
    print(printable(f"{len(texts)} predictions: {given['output']}"))
    return 0


def _check(given: dict[str, str]) -> None:
    if "bundle" not in given:
        raise ConfigError("predict needs bundle=FOLDER")
    check_one_of("predict", given, text='text="..."', input="input=FILE")
    if ("input" in given) != ("output" in given):
        raise ConfigError("input=FILE and output=FILE go together")
    check_not_input(given)
    if "output" in given:
        check_output(Path(given["output"]))
    check_text(given.get("text", "x"))


def _predict(
    bundle: Bundle, texts: Sequence[str], *, batch_size: int, precision: str
) -> Iterator[dict[str, Any]]:
    """Yield the predictions for each text, with a progress bar on standard error."""
    from candelabra.tables import Progress

    with Progress("predicting", total=len(texts)) as progress:
        for begin in range(0, len(texts), CHUNK):
            part = texts[begin : begin + CHUNK]
            yield from bundle.predict(part, batch_size=batch_size, precision=precision)
            progress.advance(len(part))


def _write(path: Path, predictions: Iterator[dict[str, Any]]) -> None:
    with writing(path) as stream:
        for prediction in predictions:
            stream.write(f"{json.dumps(prediction, ensure_ascii=False)}\n".encode())
