"""The two tasks as the peer sees them: rows, tokens, predictions, scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from transformers import PreTrainedTokenizerBase, Trainer

from candelabra.data.loading import load_task
from candelabra.data.sources import Files
from candelabra.records import IGNORED, Examples

COLUMNS = {
    "imdb": {"text": "text", "label": "label"},
    "mit_movie_trivia": {"words": "tokens", "tags": "tags"},
}
Feature = dict[str, Any]
Scores = dict[str, float]


@dataclass(frozen=True)
class Split:
    """One tokenised split: what the data collator takes, and the rows that it came from.

    For tagging, `first` gives each row's {word: position of its first piece}.
    """

    features: list[Feature]
    rows: Examples
    first: list[dict[int, int]]


def load_rows(
    task: str, data: Path, limits: dict[str, int | None]
) -> tuple[dict[str, Examples], list[str]]:
    """The rows that candelabra trains and tests on, in the same splits; the label names.

    Args:
        task: A key of `COLUMNS`.
        data: The folder that holds a folder for each task.
        limits: Split -> most rows; None keeps all, 0 leaves the split out.
    """
    folder = data / task
    files = {split: f"{split}.parquet" for split in ("train", "validation", "test")}
    files = {split: file for split, file in files.items() if (folder / file).exists()}
    loaded = load_task(
        task,
        source=Files(**files, folder=str(folder)),
        columns=COLUMNS[task],
        labels=folder / "labels.json",
        limit={split: most for split, most in limits.items() if most},
    )
    kept = {split: rows for split, rows in loaded.splits.items() if limits.get(split) != 0}
    return kept, loaded.labels


def tokenize(rows: Examples, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Split:
    """Texts to ids; a word's tag goes to its first piece, the rest is ignored."""
    inputs: list[Any] = rows.texts[0]
    if rows.words is not None:
        pairs = zip(inputs, rows.words, strict=True)
        inputs = [[text[start:end] for start, end in spans] for text, spans in pairs]
    encoded = tokenizer(
        inputs, is_split_into_words=rows.words is not None, truncation=True, max_length=max_length
    )
    features, first = [], []
    for i, given in enumerate(rows.labels):
        ids, mask, labels = encoded["input_ids"][i], encoded["attention_mask"][i], given
        if rows.words is not None:
            first.append(first_pieces(encoded.word_ids(i)))
            tags = {position: given[word] for word, position in first[i].items()}
            labels = [tags.get(position, IGNORED) for position in range(len(ids))]
        features.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
    return Split(features, rows, first)


def first_pieces(words: list[int | None]) -> dict[int, int]:
    """{word: position of its first piece}, from the word of each position."""
    # Backwards, so that the first piece of a word is written last and stays.
    return {word: position for position, word in reversed([*enumerate(words)]) if word is not None}


@torch.no_grad()
def predict(trainer: Trainer, features: list[Feature], batch_size: int = 32) -> list[torch.Tensor]:
    """The logits of every row, in the rows' order; batches of neighbours in length."""
    # Trainer.predict would give them back in the order of its length-grouped sampler.
    model = trainer.model.eval()
    order = sorted(range(len(features)), key=lambda i: len(features[i]["input_ids"]))
    logits: dict[int, torch.Tensor] = {}
    for start in range(0, len(order), batch_size):
        chunk = order[start : start + batch_size]
        batch = trainer.data_collator([features[i] for i in chunk])
        batch.pop("labels")
        with trainer.compute_loss_context_manager():
            out = model(**batch.to(trainer.args.device)).logits
        logits.update(zip(chunk, out.float().cpu(), strict=True))
    return [logits[i] for i in range(len(features))]


def span_scores(logits: list[torch.Tensor], split: Split, names: list[str]) -> Scores:
    """Entity scores over whole sentences; a word cut by truncation is predicted O."""
    predicted, gold, num_cut = [], [], 0
    for row, tags, first in zip(logits, split.rows.labels, split.first, strict=True):
        best = row.argmax(-1).tolist()
        gold.append([names[tag] for tag in tags])
        predicted.append([names[best[first[w]]] if w in first else "O" for w in range(len(tags))])
        num_cut += len(tags) - len(first)
    scores: Scores = {"num_words_cut": num_cut}
    for prefix, mode in (("", {}), ("strict_", {"mode": "strict", "scheme": IOB2})):
        for name, score in (
            ("f1", f1_score),
            ("precision", precision_score),
            ("recall", recall_score),
        ):
            scores[prefix + name] = float(score(gold, predicted, **mode))
    return scores


def class_scores(logits: list[torch.Tensor], split: Split) -> Scores:
    """Accuracy and mean cross-entropy."""
    stacked, labels = torch.stack(logits), torch.tensor(split.rows.labels)
    loss = torch.nn.functional.cross_entropy(stacked, labels)
    accuracy = (stacked.argmax(-1) == labels).double().mean()
    return {"accuracy": accuracy.item(), "loss": loss.item()}


def evaluate(trainer: Trainer, split: Split, names: list[str]) -> Scores:
    """The task's scores on one split."""
    logits = predict(trainer, split.features)
    return span_scores(logits, split, names) if split.first else class_scores(logits, split)
