"""What the approximate search finds of the exact one's hits, and the time of both.

    python benchmarks/search_recall.py --data FOLDER --texts 25000 --output recall.json

The corpus: distinct IMDb test reviews drawn by a seed; the queries: reviews of the train split.
Recall is the share of the exact hits that the graph finds, by how many candidates it keeps while a
query is answered. It cannot keep fewer than the wanted hits, so that such a setting is left out.
The time is that of the search alone: vectors in, rows out.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from hf_trainer import machine
from peers import model_folder, versions

from candelabra.embedding.embedder import Embedder
from candelabra.model.backbones import Pretrained
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.pooling import FunctionPooling, mean
from candelabra.search.approximate import build_graph, nearest_approximately
from candelabra.search.exact import nearest

HITS = (10, 100)
TOGETHER = (1, 100, 1000)
"""Queries that are answered at once, where the time is taken."""
ROUNDS = 20
"""So many such sets of queries at most."""

Search = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, type=Path, help="folder that holds imdb/")
    add("--texts", type=int, default=25_000, help="most reviews of the corpus")
    add("--queries", type=int, default=1000)
    add("--efforts", type=int, nargs="+", default=[64, 128, 200, 256], help="candidates kept")
    add("--turns", type=int, default=3, help="of the time; the median is told")
    add("--max-length", type=int, default=256)
    add("--seed", type=int, default=0, help="of both draws")
    add("--model", default="minilm", help="minilm (bundled), tiny (random), or a folder")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--output", type=Path, help="JSON file; without it, printed only")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    corpus = draw(options.data / "imdb" / "test.parquet", options.texts, options.seed)
    queries = draw(options.data / "imdb" / "train.parquet", options.queries, options.seed)
    embedder = load(options)
    vectors_ND, queries_QD = embedder.embed(corpus), embedder.embed(queries)
    results = compare(queries_QD, vectors_ND, options)
    print_results(results)
    if options.output:
        packages = {**versions(), "faiss-cpu": version("faiss-cpu")}
        about = {"settings": settings, "machine": machine(), "versions": packages}
        options.output.write_text(json.dumps({**about, "results": results}, indent=2) + "\n")


def draw(file: Path, limit: int, seed: int) -> list[str]:
    """Distinct texts: of equal ones, any is as good a hit."""
    texts = list(dict.fromkeys(pq.read_table(file, columns=["text"])["text"].to_pylist()))
    return random.Random(seed).sample(texts, min(limit, len(texts)))


def load(options: argparse.Namespace) -> Embedder:
    with tempfile.TemporaryDirectory() as scratch:
        folder = model_folder(options.model, Path(scratch) / "model")
        backbone = Pretrained(name=folder, max_length=options.max_length, local=True)
        model = MultiTaskModel(backbone.load(), {}, pooling=FunctionPooling(mean))
        return Embedder(model.to(options.device).eval(), backbone.tokenizer())


def compare(
    queries_QD: np.ndarray, vectors_ND: np.ndarray, options: argparse.Namespace
) -> dict[str, Any]:
    exact_QK, _ = nearest(queries_QD, vectors_ND, max(HITS))
    graph = build_graph(vectors_ND)

    def share(rows_QK: np.ndarray, hits: int) -> float:
        pairs = zip(rows_QK[:, :hits], exact_QK[:, :hits], strict=True)
        return float(np.mean([len({*found} & {*right}) / len(right) for found, right in pairs]))

    def with_effort(effort: int, hits: int) -> float | None:
        if effort < hits:
            return None
        graph.hnsw.efSearch = effort
        _, rows_QK = graph.search(queries_QD, min(hits, len(vectors_ND)))
        return share(rows_QK, hits)

    def by_default(hits: int) -> float:
        return share(nearest_approximately(queries_QD, graph, hits)[0], hits)

    recall = {str(e): {str(k): with_effort(e, k) for k in HITS} for e in options.efforts}
    recall["default"] = {str(hits): by_default(hits) for hits in HITS}
    pace = []
    for num in sorted({min(num, len(queries_QD)) for num in TOGETHER}):
        exact = seconds(lambda part: nearest(part, vectors_ND, 10), queries_QD, num, options.turns)
        approximate = seconds(
            lambda part: nearest_approximately(part, graph, 10), queries_QD, num, options.turns
        )
        pace.append({"queries": num, "exact": exact, "graph": approximate})
    sizes = {"texts": len(vectors_ND), "queries": len(queries_QD)}
    return {**sizes, "recall": recall, "pace": pace}


def seconds(search: Search, queries_QD: np.ndarray, num: int, turns: int) -> float:
    """Of one search for `num` queries at once; the median of the turns."""
    begins = range(0, min(len(queries_QD) // num * num, ROUNDS * num), num)
    taken = []
    for _ in range(turns):
        begin = time.perf_counter()
        for row in begins:
            search(queries_QD[row : row + num])
        taken.append((time.perf_counter() - begin) / len(begins))
    return statistics.median(taken)


def print_results(results: dict[str, Any]) -> None:
    print(f"{results['texts']} texts, {results['queries']} queries")
    print("| candidates while searching |", " | ".join(f"recall@{hits}" for hits in HITS), "|")
    print("|---|" + "---|" * len(HITS))
    for effort, found in results["recall"].items():
        cells = ("-" if value is None else f"{value:.3f}" for value in found.values())
        print(f"| {effort} |", " | ".join(cells), "|")
    for one in results["pace"]:
        ratio = one["exact"] / one["graph"]
        milliseconds = [f"{1000 * one[side]:.2f} ms" for side in ("exact", "graph")]
        print(
            f"{one['queries']} at once: exact {milliseconds[0]}, "
            f"graph {milliseconds[1]}: {ratio:.1f} times as fast"
        )


if __name__ == "__main__":
    main()
