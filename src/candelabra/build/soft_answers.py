"""Answers of a trained model to training examples, from which another model learns.

Shapes: N examples, B examples of a batch, W words, C classes.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from candelabra.bundle.bundle import Bundle, load
from candelabra.bundle.checksums import CHECKSUMS
from candelabra.data.collate import TokenizedSplit, longest_first
from candelabra.data.token_cache import read_arrays, tokenize_cached, write_arrays
from candelabra.data.waiting_lock import waiting_lock
from candelabra.files import checksum
from candelabra.hardware import half
from candelabra.records import Examples
from candelabra.tables import Progress, show
from candelabra.training.teaching import SoftAnswers

log = logging.getLogger(__name__)
VERSION = 2
"""Part of every cache key. It grows when the stored arrays change their meaning."""
BATCH_SIZE = 64
SECONDS_BETWEEN_DRAFTS = 60.0
"""How often unfinished answers are written, so that an interrupted run can go on from them."""


def cached_answers(
    folder: Path,
    task: str,
    examples: Examples,
    labels: Sequence[str],
    *,
    fingerprint: str,
    cache_dir: Path | None,
    precision: str,
    device: str,
) -> SoftAnswers:
    """Return the answers of a bundle, from the cache if it has them.

    The key of the cache is made of the bundle's checksums, the examples with their labels, the
    order of the labels and the precision, so that another teacher or a changed row is answered
    again. A damaged file is made again. Unfinished answers are written from time to time, and the
    next call goes on from them. Of several processes that need the same answers, one computes them
    and the others wait.

    Args:
        folder: Folder of the bundle.
        task: Task of the bundle.
        examples: Examples to answer.
        labels: Label names of the student, in the order of its logits.
        fingerprint: Hash of the examples.
        cache_dir: Folder of the cache; `None` disables it.
        precision: Name of the precision, as in `candelabra.hardware.half`.
        device: Device that the teacher runs on.
    """
    parts = [VERSION, checksum(folder / CHECKSUMS), task, fingerprint, list(labels), precision]
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
    path = None if cache_dir is None else cache_dir / f"{key}-teacher.safetensors"
    draft = None if path is None else path.with_name(f"{key}-teacher-unfinished.safetensors")
    if (cached := _finished(path, examples)) is not None:
        show(f"answers of the teacher of {task}: {len(examples):,} from the cache")
        return cached
    with ExitStack() as locks:
        if path is not None:
            lock = waiting_lock(path.with_name(f".{path.name}.lock"), "the answers of this teacher")
            with suppress(OSError):  # Without a writable folder there is nothing to wait for.
                locks.enter_context(lock)
            if (cached := _finished(path, examples)) is not None:
                return cached
        bundle = load(folder, device=device)
        answers = soft_answers(bundle, task, examples, labels, precision=precision, draft=draft)
        arrays = {"logits": answers.logits.numpy()}
        if path is not None and draft is not None and _store(path, arrays):
            draft.unlink(missing_ok=True)
    return answers


def soft_answers(
    bundle: Bundle,
    task: str,
    examples: Examples,
    labels: Sequence[str],
    *,
    precision: str,
    draft: Path | None = None,
) -> SoftAnswers:
    """Compute the answers of a bundle to examples of one of its tasks.

    Args:
        bundle: The teacher.
        task: Task of the bundle.
        examples: Examples to answer; their labels are not read.
        labels: Label names of the student, the same as those of the teacher in any order.
        precision: Name of the precision, as in `candelabra.hardware.half`.
        draft: File that gets the unfinished answers from time to time, and from which they go on;
            `None` to start anew and write none.

    Returns:
        The answers in the order of the examples and of the labels. They are in half precision,
        except for numbers, which it may round or not reach.
    """
    cross = bundle.config.tasks[task].get("cross", False)
    tokens = tokenize_cached(
        examples, bundle.tokenizer, fingerprint="", cache_dir=None, cross=cross
    )
    split = TokenizedSplit(examples, tokens, bundle.tokenizer.pad_id)
    order: list[int] = []
    if bundle.model.head(task).num_choices:
        order = [bundle.labels[task].index(label) for label in labels]
    starts_N = _starts(examples)
    num_seen = 0
    # A large teacher may need hours for its answers.
    progress = Progress(f"answers of the teacher of {task}", total=len(examples))
    with progress, _Unfinished(draft) as answered:
        for rows_B in longest_first(split.lengths, BATCH_SIZE):
            progress.advance(len(rows_B))
            num_seen += len(rows_B)
            if num_seen <= answered.num_examples:
                continue
            part, first_BW = _logits(bundle, task, split, rows_B, precision)
            part = (part[..., order] if order else part).cpu()
            part = part.float() if part.ndim == 1 else part.half()
            if answered.logits is None:
                size = len(examples) if starts_N is None else int(starts_N[-1])
                shape = part.shape[1 if starts_N is None else 2 :]
                answered.logits = part.new_zeros((size, *shape))
            _put(answered.logits, part, rows_B, starts_N, first_BW)
            answered.advance(len(rows_B))
    assert answered.logits is not None, "a split without examples is refused before"
    return SoftAnswers(answered.logits, starts_N)


class _Unfinished:
    """Answers so far, kept in a file from time to time and when the run is interrupted.

    Args:
        path: The file, whose answers are the first ones; `None` keeps none.

    Attributes:
        logits: The answers, in the order of the examples; `None` before the first of them.
        num_examples: Number of examples that are answered.
    """

    def __init__(self, path: Path | None) -> None:
        kept = _kept(path, "logits", "num_answered")
        self.logits = torch.from_numpy(kept["logits"]) if kept else None
        self.num_examples = int(kept["num_answered"]) if kept else 0
        self._path, self._written = path, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        interrupted = kind is not None and issubclass(kind, (KeyboardInterrupt, SystemExit))
        if interrupted and self.num_examples and self._write():
            show(f"{self.num_examples:,} answers of the teacher are kept for the next run with it")

    def advance(self, count: int) -> None:
        """Report that `count` more examples are answered."""
        self.num_examples += count
        if time.monotonic() - self._written >= SECONDS_BETWEEN_DRAFTS:
            self._write()

    def _write(self) -> bool:
        self._written = time.monotonic()
        if self._path is None or self.logits is None:
            return False
        arrays = {"logits": self.logits.numpy(), "num_answered": np.array(self.num_examples)}
        return _store(self._path, arrays)


@torch.inference_mode()
def _logits(
    bundle: Bundle, task: str, split: TokenizedSplit, rows_B: np.ndarray, precision: str
) -> tuple[Tensor, Tensor | None]:
    device = next(bundle.model.parameters()).device
    batch = split.batch(rows_B).to(device)
    with half(precision, device.type):
        logits = bundle.model.forward_task(task, batch)
    return bundle.model.head(task).soft_answers(logits, batch.first_BW), batch.first_BW


def _put(
    logits: Tensor,
    part: Tensor,
    rows_B: np.ndarray,
    starts_N: Tensor | None,
    first_BW: Tensor | None,
) -> None:
    """Write the answers to a batch to their places."""
    if starts_N is None:
        logits[torch.from_numpy(rows_B)] = part
        return
    assert first_BW is not None
    part = part.masked_fill((first_BW.cpu() < 0).unsqueeze(-1), torch.nan)
    for row, answer_WC in zip(rows_B, part, strict=True):
        begin, end = starts_N[row], starts_N[row + 1]
        logits[begin:end] = answer_WC[: end - begin]


def _starts(examples: Examples) -> Tensor | None:
    """Return the index of each example's first word, and the number of words; `None` for texts."""
    if examples.words is None:
        return None
    return torch.tensor([0, *map(len, examples.words)]).cumsum(0)


def _finished(path: Path | None, examples: Examples) -> SoftAnswers | None:
    """Return the answers in a file of the cache; `None` without a whole one."""
    if not (kept := _kept(path, "logits")):
        return None
    return SoftAnswers(torch.from_numpy(kept["logits"]), _starts(examples))


def _kept(path: Path | None, *names: str) -> dict[str, np.ndarray]:
    """Return the arrays of a file of the cache; empty without a whole one that has these names."""
    if path is None or not path.exists():
        return {}
    try:
        arrays = read_arrays(path)
        if missing := set(names) - arrays.keys():
            raise ValueError(f"without {', '.join(sorted(missing))}")
    except (OSError, ValueError) as error:
        log.warning("the answers in %s are damaged (%s); they are made again", path, error)
        return {}
    return arrays


def _store(path: Path, arrays: Mapping[str, np.ndarray]) -> bool:
    """Write arrays to a file of the cache, and return whether that was possible."""
    from safetensors import SafetensorError

    try:
        write_arrays(path, arrays)
    except (OSError, SafetensorError) as error:
        log.warning("the answers of the teacher cannot be kept in %s (%s)", path, error)
        return False
    return True
