"""One training of a peer for training_step.py, in a process of its own: writes one JSON file."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from hf_task import load_rows, tokenize
from hf_trainer import load_model, training_arguments
from peers import sentence_transformer, text_rows
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.training_args import (
    SentenceTransformerTrainingArguments,
)
from step_clock import TrainerClock
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoTokenizer,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    Trainer,
    set_seed,
)

EPOCHS = 2


class HeadLoss(nn.Module):
    """A head on the embedding, and cross-entropy: sentence-transformers has no such loss."""

    def __init__(self, model: nn.Module, width: int) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(width, 2))

    def forward(self, features: list[dict[str, Tensor]], labels: Tensor) -> Tensor:
        embedding_BD = self.model(features[0])["sentence_embedding"]
        return F.cross_entropy(self.head(embedding_BD), labels)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--framework", required=True, choices=("trainer", "sentence_transformers"))
    add("--task", required=True)
    add("--data", required=True, type=Path)
    add("--output", required=True)
    for name in ("rows", "batch-size", "max-length", "seed"):
        add(f"--{name}", required=True, type=int)
    add("--model", required=True, help="folder of the encoder")
    add("--precision", required=True)
    add("--attention", required=True)
    add("--group-by-length", action="store_true")
    options = parser.parse_args()
    options.epochs, options.max_steps, options.lr = EPOCHS, -1, 5e-5
    return options


def trainer_of(options: argparse.Namespace, folder: str) -> Trainer:
    """The Trainer with the task's standard model, on tokenised rows."""
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    rows, names = load_rows(options.task, options.data, {"train": options.rows, "test": 0})
    features = tokenize(rows["train"], tokenizer, options.max_length).features
    tagging = options.task == "mit_movie_trivia"
    collator = DataCollatorForTokenClassification if tagging else DataCollatorWithPadding
    return Trainer(
        model=load_model(options, options.model, names),
        args=training_arguments(options, folder),
        train_dataset=features,
        data_collator=collator(tokenizer),
        callbacks=[TrainerClock(options.output)],
    )


def sentence_trainer_of(options: argparse.Namespace, folder: str) -> Trainer:
    """sentence-transformers' trainer; it tokenises a text when it is drawn, and cannot group."""
    rows, _ = load_rows(options.task, options.data, {"train": options.rows, "test": 0})
    model = sentence_transformer(
        options.model, max_length=options.max_length, attention=options.attention, device="cpu"
    )
    width = model.get_embedding_dimension()
    return SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=options.batch_size,
            bf16=options.precision == "bf16",
            use_cpu=True,
            seed=options.seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=text_rows(rows["train"].texts[0], rows["train"].labels),
        loss=HeadLoss(model, width),
        callbacks=[TrainerClock(options.output)],
    )


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(1)
    set_seed(options.seed)
    make = trainer_of if options.framework == "trainer" else sentence_trainer_of
    with tempfile.TemporaryDirectory() as folder:
        make(options, folder).train()


if __name__ == "__main__":
    main()
