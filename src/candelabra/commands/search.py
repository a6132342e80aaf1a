"""Command `candelabra search`: the texts of a corpus that are most similar to a query."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from candelabra.bundle.cross_encoders import scoring_task
from candelabra.bundle.folder import checked_folder, stored_config, stored_labels
from candelabra.checks import at_least, one_of
from candelabra.commands import models
from candelabra.commands.arguments import check_not_input, check_one_of, check_text, compose_command
from candelabra.commands.inputs import read_texts
from candelabra.errors import ConfigError, printable
from candelabra.files import check_output, writing
from candelabra.search import approximate
from candelabra.search.index import check_graph, check_new, read_about

if TYPE_CHECKING:
    from candelabra.embedding.embedder import Embedder
    from candelabra.search.exact import Corpus, Hit
    from candelabra.search.reranking import CrossEncoder

HELP = """candelabra search corpus=FILE | index=FOLDER  text="..." | input=FILE output=FILE

  corpus=FILE      the texts to search: .txt (one per line), .jsonl, .csv, .tsv or .parquet
  save_index=FOLDER
                   saves the corpus and its vectors; a query is then optional
  index=FOLDER     searches a saved corpus with the model that embedded it
  text="..."       one query; its hits are shown as a table, or with format=json
  input=FILE       a file of queries, in the formats of corpus; - is standard input
  output=FILE      JSON Lines, one line for each query, in the order of the input
  top_k=5
  rerank=BUNDLE    re-ranks the best hits with a cross-encoder, a task with cross: true
  rerank_top_k=50  number of re-ranked hits; rerank_task=NAME if the bundle has several
  approximate=true
                   uses an approximate index (HNSW), for large corpora (extra 'index')
  bundle=FOLDER    embeds with a trained model; task=NAME selects the pooling of a task
  encoder=minilm pooling=mean
                   without a bundle: a pretrained encoder
  column=text      the column of the corpus; query_column=NAME that of the input
  truncate_dim=null  batch_size=64  processes=1
  backend=torch  precision=auto  accelerator=auto  allow=[]

Scores are cosines, from -1 to 1, or the scores of the cross-encoder. Rows are counted from 0.
"""

WORDS = (*models.KEYS, "corpus", "index", "save_index", "text", "input", "output", "rerank")

TITLE = 100
"""Maximum characters of the query in the title of the table of hits."""


def main(overrides: list[str]) -> int:
    """Embed a corpus or load an index, search for the queries and return the exit status."""
    cfg, given, rest = compose_command("search", overrides, WORDS)
    models.check(cfg, given, rest)
    _check_keys(given, rest)
    _check_values(cfg)
    about = _check_folders(cfg, given)
    queries = _queries(cfg, given)
    texts = read_texts(given["corpus"], cfg.column) if "corpus" in given else []

    from candelabra import hardware
    from candelabra.search import exact

    embedder, rerank = models.open_embedder(cfg, given), _reranker(cfg, given)
    encoder = next((word for word in rest if word.startswith("encoder=")), "encoder=minilm")
    name = f"bundle={given['bundle']}" if "bundle" in given else encoder
    if about is None:
        corpus = _embed_corpus(cfg, given, texts, embedder, origin=_origin(cfg, name, embedder))
    else:
        corpus = _open_index(cfg, given, about, origin=_origin(cfg, name, embedder))
    precision = hardware.precision(cfg.precision, hardware.device_type(cfg.accelerator))
    embed = partial(embedder.embed, batch_size=cfg.batch_size, precision=precision)
    top = {"top_k": cfg.top_k, "rerank_top_k": cfg.rerank_top_k}
    results = exact.search(embed, queries, corpus, rerank=rerank, **top)
    if "output" in given:
        _write(Path(given["output"]), queries, _with_progress(results, len(queries)))
        print(printable(f"{len(queries)} queries: {given['output']}"))
    elif queries:
        (hits,) = results
        _show(queries[0], hits, cfg.format)
    return 0


def _check_keys(given: Mapping[str, str], rest: Sequence[str]) -> None:
    """Raise ConfigError if a key is missing, or two keys exclude each other."""
    check_one_of("search", given, corpus="corpus=FILE", index="index=FOLDER")
    if "save_index" in given and "index" in given:
        raise ConfigError("save_index=FOLDER saves a corpus=FILE; index=FOLDER is already saved")
    if {"text", "input"} & given.keys() or "save_index" not in given:
        alone = "input=FILE (or save_index=FOLDER alone)"
        check_one_of("search", given, text='text="..."', input=alone)
    for word in rest:
        if word.startswith("rerank_") and "rerank" not in given:
            raise ConfigError(f"{word}: a setting of re-ranking, which needs rerank=BUNDLE")
    if ("input" in given) != ("output" in given):
        raise ConfigError("input=FILE and output=FILE go together")
    check_not_input(given, keys=("input", "corpus"))
    if "output" in given:
        check_output(Path(given["output"]), [".jsonl"])
    if given.get("corpus") == given.get("input") == "-":
        raise ConfigError("corpus=- and input=- cannot both be standard input")
    check_text(given.get("text", "x"))


def _check_values(cfg: DictConfig) -> None:
    one_of("format", cfg.format, ("table", "json"))
    if cfg.approximate:
        approximate.check_installed()
        if cfg.normalize is False:
            raise ConfigError("approximate=true needs vectors of unit length: drop normalize=false")


def _check_folders(cfg: DictConfig, given: Mapping[str, str]) -> dict[str, Any] | None:
    """Check the folders of the re-ranker and the index before any model is loaded.

    Returns:
        The description of the index, or `None` if there is no `index=FOLDER`.
    """
    if "rerank" in given:
        at_least("rerank_top_k", cfg.rerank_top_k, cfg.top_k)
        folder = checked_folder(Path(given["rerank"]), key="rerank")
        tasks, labels = stored_config(folder).tasks, stored_labels(folder)
        scoring_task(tasks, labels, name=_reranker_name(given), task=cfg.rerank_task)
    if "save_index" in given:
        check_new(Path(given["save_index"]))
    if "index" not in given:
        return None
    folder = Path(given["index"])
    about = read_about(folder)
    check_graph(folder, about, cfg.approximate)
    return about


def _queries(cfg: DictConfig, given: Mapping[str, str]) -> list[str]:
    if "text" in given:
        return [given["text"]]
    column = cfg.column if cfg.query_column is None else cfg.query_column
    return read_texts(given["input"], column) if "input" in given else []


def _embed_corpus(
    cfg: DictConfig,
    given: Mapping[str, str],
    texts: list[str],
    embedder: Embedder,
    *,
    origin: Mapping[str, Any],
) -> Corpus:
    """Embed the texts of a corpus file, and save them with `save_index=FOLDER`."""
    import numpy as np

    from candelabra.embedding.workers import vectors
    from candelabra.search.exact import Corpus
    from candelabra.search.index import save_index

    vectors_ND = np.concatenate(list(vectors(embedder, texts, cfg)))
    graph = approximate.build_graph(vectors_ND) if cfg.approximate else None
    corpus = Corpus(texts, vectors_ND, graph)
    if "save_index" in given:
        save_index(Path(given["save_index"]), corpus, origin=origin, source=given["corpus"])
        print(printable(f"{len(texts)} texts saved: {given['save_index']}"))
    return corpus


def _open_index(
    cfg: DictConfig,
    given: Mapping[str, str],
    about: Mapping[str, Any],
    *,
    origin: Mapping[str, Any],
) -> Corpus:
    """Load the corpus of an index and check that the same model embedded it."""
    from candelabra.search.index import load_index
    from candelabra.search.origin import check_origin

    folder = Path(given["index"])
    check_origin(f"index={folder}", about["origin"], origin)
    return load_index(folder, approximate=cfg.approximate, about=about)


def _origin(cfg: DictConfig, name: str, embedder: Embedder) -> dict[str, Any]:
    """Describe the model that computes the vectors, for comparison with that of an index.

    Args:
        cfg: Configuration of the command.
        name: Name of the model on the command line.
        embedder: The model.

    Raises:
        ConfigError: The approximate search is used with vectors that are not normalized.
    """
    from candelabra.config.keys import TORCH
    from candelabra.search.origin import origin_of

    if cfg.approximate and not embedder.normalize:
        raise ConfigError("approximate=true needs vectors of unit length: add normalize=true")
    backend = "" if cfg.backend == TORCH else f" backend={cfg.backend}"
    return origin_of(embedder, f"{name}{backend}")


def _reranker(cfg: DictConfig, given: Mapping[str, str]) -> CrossEncoder | None:
    from candelabra import hardware
    from candelabra.bundle.bundle import load
    from candelabra.search.reranking import cross_encoder

    if "rerank" not in given:
        return None
    device = hardware.device_type(cfg.accelerator)
    return cross_encoder(
        load(given["rerank"], allow=list(cfg.allow), device=device),
        name=_reranker_name(given),
        task=cfg.rerank_task,
        batch_size=cfg.batch_size,
        precision=hardware.precision(cfg.precision, device),
    )


def _reranker_name(given: Mapping[str, str]) -> str:
    """Return the name of the re-ranker in messages."""
    return f"rerank={given['rerank']}"


def _with_progress(results: Iterator[list[Hit]], total: int) -> Iterator[list[Hit]]:
    """Yield the hits of each query, with a progress bar on standard error."""
    from candelabra.tables import Progress

    with Progress("searching", total=total) as progress:
        for hits in results:
            yield hits
            progress.advance()


def _as_dict(query: str, hits: Sequence[Hit]) -> dict[str, Any]:
    """Return a query and its hits as a JSON object."""
    return {
        "text": query,
        "hits": [{"row": hit.row, "score": round(hit.score, 6), "text": hit.text} for hit in hits],
    }


def _write(path: Path, queries: Sequence[str], results: Iterable[list[Hit]]) -> None:
    with writing(path) as stream:
        for query, hits in zip(queries, results, strict=True):
            line = json.dumps(_as_dict(query, hits), ensure_ascii=False)
            stream.write(f"{line}\n".encode())


def _show(query: str, hits: Sequence[Hit], form: str) -> None:
    if form == "json":
        print(printable(json.dumps(_as_dict(query, hits), indent=2, ensure_ascii=False)))
        return
    from rich.table import Table
    from rich.text import Text

    from candelabra.tables import format_number, show

    title = Text(" ".join(query.split()))
    title.truncate(TITLE, overflow="ellipsis")
    table = Table(title=title, title_justify="left", expand=True)
    table.add_column("score", justify="right")
    table.add_column("row", justify="right")
    # The ratio limits the text to the remaining width: without it, a text that does not wrap
    # would leave no space for the other columns.
    table.add_column("text", ratio=1, no_wrap=True, overflow="ellipsis")
    for hit in hits:
        table.add_row(format_number(hit.score), str(hit.row), Text(" ".join(hit.text.split())))
    show(table)
