"""Speed of embedding against `SentenceTransformer.encode`, in turns in one run.

    python benchmarks/embed_speed.py --data FOLDER --turns 3 --output embed.json

IMDb test reviews drawn by a seed, and the sentences of the STS-B test pairs. The same for both:
weights, mean pooling, unit length, sdpa attention, tokens and texts in a pass, device. The time is
that of one call, texts in, numpy array out; the models are loaded before. sentence-transformers
computes in float32, its default. candelabra computes in `--precision`, by default that of
`candelabra embed`. With `--backend onnx` or `onnx_int8` onnxruntime computes candelabra's encoder,
in float32 or with int8 weights. The script fails if a pair of vectors differs by more than 1e-5 in
float32, or has a cosine below .9995 in bfloat16.

candelabra embeds equal texts once: `--distinct` leaves repeated texts out for both. Where others
use the machine too, take one thread (`OMP_NUM_THREADS=1`) and read the ratio of the processor's
time, which does not count waiting for others.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from hf_trainer import machine
from peers import model_folder, sentence_transformer, versions

from candelabra import hardware
from candelabra.config.keys import BACKENDS, ONNX_INT8, TORCH
from candelabra.embedding.embedder import Embedder
from candelabra.model.backbones import Pretrained
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.onnx_backbone import compute_with_onnx
from candelabra.model.pooling import FunctionPooling, mean

COLUMNS = {"imdb": ("text",), "stsb": ("sentence1", "sentence2")}
TOLERANCE = 1e-5
"""Largest difference of a component in float32."""
LEAST_COSINE = 0.9995
"""Smallest cosine of the two vectors of a text in bfloat16."""
OURS, PEER = "candelabra", "sentence-transformers"

Embed = Callable[[list[str]], np.ndarray]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", required=True, type=Path, help="folder that holds imdb/ and stsb/")
    add("--texts", choices=COLUMNS, action="append", help="default: both")
    add("--limit", type=int, default=5000, help="most texts of each set")
    add("--distinct", action="store_true", help="without repeated texts")
    add("--batch-size", type=int, default=32, help="texts in a pass")
    add("--max-length", type=int, default=256)
    add("--turns", type=int, default=3)
    add("--seed", type=int, default=0, help="of the draw")
    add("--model", default="minilm", help="minilm (bundled), tiny (random), or a folder")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--precision", choices=("auto", "32-true", "bf16-mixed"), default="auto")
    add("--backend", choices=BACKENDS, default=TORCH, help="what computes candelabra's encoder")
    add("--output", type=Path, help="JSON file; without it, printed only")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    options.precision = hardware.precision(options.precision, options.device)
    if options.backend != TORCH:
        options.precision = "32-true"
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    with tempfile.TemporaryDirectory() as scratch:
        folder = model_folder(options.model, Path(scratch) / "model")
        sides = load_sides(folder, options, cache_dir=Path(scratch))
        results = {}
        for name in options.texts or COLUMNS:
            results[name] = compare(name, draw(name, options), sides, options)
    if options.output:
        about = {"settings": settings, "machine": machine(), "versions": versions()}
        options.output.write_text(json.dumps({**about, "results": results}, indent=2) + "\n")


def draw(name: str, options: argparse.Namespace) -> list[str]:
    """Test texts of a set: all of them, or as many as wanted, by the seed."""
    table = pq.read_table(options.data / name / "test.parquet", columns=list(COLUMNS[name]))
    texts = [text for column in COLUMNS[name] for text in table[column].to_pylist()]
    if options.distinct:
        texts = list(dict.fromkeys(texts))
    limit = min(options.limit, len(texts))
    return random.Random(options.seed).sample(texts, limit)


def load_sides(folder: str, options: argparse.Namespace, *, cache_dir: Path) -> dict[str, Embed]:
    """Both sides on the device, warm."""
    backbone = Pretrained(name=folder, max_length=options.max_length, attention="sdpa", local=True)
    model = MultiTaskModel(backbone.load(), {}, pooling=FunctionPooling(mean))
    embedder = Embedder(model.to(options.device).eval(), backbone.tokenizer())
    if options.backend != TORCH:
        int8 = options.backend == ONNX_INT8
        compute_with_onnx(embedder.model, embedder.tokenizer, cache_dir, int8=int8)
    peer = sentence_transformer(
        folder, max_length=options.max_length, attention="sdpa", device=options.device
    ).float()

    def ours(texts: list[str]) -> np.ndarray:
        return embedder.embed(texts, batch_size=options.batch_size, precision=options.precision)

    def theirs(texts: list[str]) -> np.ndarray:
        return peer.encode(
            texts,
            batch_size=options.batch_size,
            normalize_embeddings=True,
            show_progress_bar=False,
        )

    for embed in (ours, theirs):
        embed(["the first pass is slow"] * options.batch_size)
    return {OURS: ours, PEER: theirs}


def compare(
    name: str, texts: list[str], sides: dict[str, Embed], options: argparse.Namespace
) -> dict[str, Any]:
    """Return the seconds of each turn; a ratio below 1 means that candelabra is faster."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    processor: dict[str, list[float]] = {side: [] for side in sides}
    furthest, least_cosine = 0.0, 1.0
    for turn in range(options.turns):
        vectors = {}
        # The second to run finds a warmer machine: take turns at that too.
        for side in sides if turn % 2 == 0 else reversed(sides):
            begin, used = time.perf_counter(), time.process_time()
            vectors[side] = sides[side](texts)
            seconds[side].append(time.perf_counter() - begin)
            processor[side].append(time.process_time() - used)
            print(f"{name}, turn {turn}, {side}: {seconds[side][-1]:.2f} s", flush=True)
        furthest = max(furthest, float(np.abs(vectors[OURS] - vectors[PEER]).max()))
        # Both sides return vectors of unit length.
        cosines = (vectors[OURS] * vectors[PEER]).sum(axis=1)
        least_cosine = min(least_cosine, float(cosines.min()))
        if options.backend == ONNX_INT8:
            continue  # its vectors are others; the least cosine is a result
        if options.precision == "32-true" and not furthest <= TOLERANCE:
            raise SystemExit(f"{name}: vectors must be equal to {TOLERANCE}, differ by {furthest}")
        if not least_cosine >= LEAST_COSINE:
            raise SystemExit(f"{name}: cosines must be {LEAST_COSINE} or more, got {least_cosine}")
    result = {
        "texts": len(texts),
        "distinct": len(set(texts)),
        "furthest": furthest,
        "least_cosine": least_cosine,
        "seconds": seconds,
        "processor_seconds": processor,
        "ratio": ratio(seconds),
        "processor_ratio": ratio(processor),
    }
    print_result(name, result)
    return result


def ratio(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Ours to theirs: turn by turn, the median of that, and the fastest to the fastest."""
    turns = [a / b for a, b in zip(seconds[OURS], seconds[PEER], strict=True)]
    fastest = min(seconds[OURS]) / min(seconds[PEER])
    return {"turns": turns, "median": statistics.median(turns), "fastest": fastest}


def print_result(name: str, result: dict[str, Any]) -> None:
    print(f"{name}, {result['texts']} texts, {result['distinct']} of them distinct")
    for side, seconds in result["seconds"].items():
        print(f"  {side}: {result['texts'] / statistics.median(seconds):.0f} texts/s")
    for title, key in (("time", "ratio"), ("processor's time", "processor_ratio")):
        turns = ", ".join(f"{value:.2f}" for value in result[key]["turns"])
        median, fastest = result[key]["median"], result[key]["fastest"]
        print(f"  ratio of {title}: {median:.2f} (turns {turns}; fastest {fastest:.2f})")
    print(f"  vectors differ by {result['furthest']:.0e} at most")
    print(f"  least cosine of two vectors: {result['least_cosine']:.6f}")


if __name__ == "__main__":
    main()
