"""Compute embeddings in several processes, each with a copy of the model."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import Queue, get_context

import numpy as np
import torch
from omegaconf import DictConfig

from candelabra.embedding.embedder import Embedder
from candelabra.errors import DataError

PART = 2048
"""Maximum number of texts that are sent to a process at a time."""
AHEAD = 2
"""Number of parts per process that are submitted before the first result is read."""

_embedder: Embedder


def embed_in_processes(
    embedder: Embedder,
    texts: Sequence[str],
    *,
    processes: int,
    batch_size: int = 64,
    precision: str = "32-true",
) -> Iterator[np.ndarray]:
    """Compute embeddings in several processes.

    If the model is on a GPU, process i uses GPU i modulo the number of GPUs. Otherwise, the CPU
    cores are divided among the processes.

    Args:
        embedder: Embedder, which is copied to each process.
        texts: Texts to embed.
        processes: Number of processes.
        batch_size: Number of texts per forward pass.
        precision: As in `Embedder.embed`.

    Yields:
        Embeddings (n, D) of the next n texts, in the order of the texts.

    Raises:
        DataError: A process was killed or could not start.
    """
    context = get_context("spawn")
    places: Queue[int] = context.Queue()
    for place in range(processes):
        places.put(place)
    device = next(embedder.model.parameters()).device.type
    threads = max(1, _num_cores() // processes)
    work = partial(_embed, batch_size=batch_size, precision=precision)
    # Small corpora are split into smaller parts, so that every process has work.
    size = max(1, min(PART, -(-len(texts) // processes)))
    parts = (texts[i : i + size] for i in range(0, len(texts), size))
    try:
        with ProcessPoolExecutor(
            processes, context, initializer=_start, initargs=(embedder, places, device, threads)
        ) as pool:
            yield from _in_order(pool, work, parts, ahead=AHEAD * processes)
    except BrokenProcessPool as error:
        raise DataError(
            f"processes={processes}: one of them died, possibly because memory ran out; each has a "
            "copy of the model, so try fewer"
        ) from error


def _in_order(
    pool: Executor,
    work: Callable[[Sequence[str]], np.ndarray],
    parts: Iterable[Sequence[str]],
    *,
    ahead: int,
) -> Iterator[np.ndarray]:
    """Apply `work` to the parts in parallel, and yield the results in order.

    At most `ahead` parts are in flight. `pool.map` would submit all parts at once, and keep all
    unread results in memory.
    """
    waiting: deque[Future[np.ndarray]] = deque()
    try:
        for part in parts:
            waiting.append(_submitted(pool, work, part))
            if len(waiting) == ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _submitted(
    pool: Executor, work: Callable[[Sequence[str]], np.ndarray], part: Sequence[str]
) -> Future[np.ndarray]:
    try:
        return pool.submit(work, part)
    except (OSError, ValueError) as error:
        # The pool closes its pipes when a process is killed, even while it starts another one.
        raise BrokenProcessPool(str(error)) from error


def _num_cores() -> int:
    # A container may be limited to some of the cores, which only Linux reports.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start(embedder: Embedder, places: Queue[int], device: str, threads: int) -> None:
    global _embedder
    place = places.get()
    if device == "cuda":
        embedder.model.to(f"cuda:{place % torch.cuda.device_count()}")
    else:
        torch.set_num_threads(threads)
    _embedder = embedder


def _embed(texts: Sequence[str], *, batch_size: int, precision: str) -> np.ndarray:
    return _embedder.embed(texts, batch_size=batch_size, precision=precision)


def vectors(embedder: Embedder, texts: Sequence[str], cfg: DictConfig) -> Iterator[np.ndarray]:
    """Embed texts chunk by chunk, with a progress bar on standard error.

    Args:
        embedder: Model that embeds the texts.
        texts: N texts.
        cfg: Configuration of the command: batch size, processes, precision and accelerator.

    Yields:
        The vectors of consecutive texts, of shape (chunk, D).
    """
    from candelabra import hardware
    from candelabra.tables import Progress

    device = hardware.device_type(cfg.accelerator)
    settings = {
        "batch_size": cfg.batch_size,
        "precision": hardware.precision(cfg.precision, device),
    }
    done = 0
    with Progress("embedding", total=len(texts)) as progress:
        if cfg.processes > 1:
            parts = embed_in_processes(embedder, texts, processes=cfg.processes, **settings)
        else:
            parts = embedder.chunks(texts, on_batch=progress.advance, **settings)
        for part in parts:
            done += len(part)
            # Texts that are repeated are embedded once, so `on_batch` did not count all of them.
            progress.update(done, len(texts))
            yield part
