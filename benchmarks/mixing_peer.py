"""One training of a peer for mixing.py, in a process of its own: writes one JSON file."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from meter import Meter
from peers import SAMPLERS, STRATEGIES, mixed_rows, sentence_transformer, text_rows
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.training_args import (
    SentenceTransformerTrainingArguments,
)
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoModel,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from candelabra.data.loading import load_task
from candelabra.data.sources import Files
from candelabra.records import IGNORED, Examples

DROPOUT = 0.1
SETS: dict[str, dict[str, Any]] = {
    "sentiment": {
        "folder": "imdb",
        "columns": {"text": "text", "label": "label"},
        "labels": ["NEGATIVE", "POSITIVE"],
    },
    "intent": {"folder": "banking77", "columns": {"text": "text", "label": "label_text"}},
}


@dataclass(frozen=True)
class Task:
    """The training rows of a task, as candelabra draws them."""

    rows: Examples
    num_labels: int
    fingerprint: str


def head(width: int, num_labels: int) -> nn.Module:
    return nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(width, num_labels))


class TwoHeads(nn.Module):
    """What the Trainer trains: a batch of all tasks' rows goes through the encoder as one."""

    def __init__(self, encoder: nn.Module, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.encoder = encoder
        width = encoder.config.hidden_size
        self.heads = nn.ModuleList(head(width, task.num_labels) for task in tasks.values())

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, task: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """The sum of the tasks' mean losses, as in candelabra's joint step."""
        encoded = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        mask_BL1 = attention_mask.unsqueeze(-1).to(encoded.last_hidden_state.dtype)
        pooled_BD = (encoded.last_hidden_state * mask_BL1).sum(1) / mask_BL1.sum(1)
        losses = []
        for number, task_head in enumerate(self.heads):
            # Every row through every head: picking rows out would make a GPU wait.
            targets_B = labels.masked_fill(task != number, IGNORED)
            summed = F.cross_entropy(task_head(pooled_BD), targets_B, reduction="sum")
            losses.append(summed / (task == number).sum().clamp(min=1))
        return {"loss": torch.stack(losses).sum()}


class HeadLoss(nn.Module):
    """What sentence-transformers trains with: a head on the embedding, and cross-entropy."""

    def __init__(self, model: SentenceTransformer, num_labels: int) -> None:
        super().__init__()
        self.model = model
        self.head = head(model.get_embedding_dimension(), num_labels).to(model.device)

    def forward(self, features: list[dict[str, Tensor]], labels: Tensor) -> Tensor:
        embedding_BD = self.model(features[0])["sentence_embedding"]
        return F.cross_entropy(self.head(embedding_BD), labels)


class Metered:
    """Shows the meter every batch of a trainer."""

    meter: Meter

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any) -> Tensor:
        masks = [value for key, value in inputs.items() if key.endswith("attention_mask")]
        self.meter.step_begins(masks)
        return super().training_step(model, inputs, *args)  # type: ignore[misc]


class MeteredTrainer(Metered, Trainer):
    pass


class MeteredSentenceTransformerTrainer(Metered, SentenceTransformerTrainer):
    pass


class StepEnds(TrainerCallback):
    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.meter.step_ended()


def load(data: Path, rows: int) -> dict[str, Task]:
    """As conf/task has it: a tenth held out first, then so many rows, stratified."""
    tasks = {}
    for name, settings in SETS.items():
        given = {key: value for key, value in settings.items() if key != "folder"}
        source = Files(train="train.parquet", folder=str(data / settings["folder"]))
        found = load_task(name, source=source, limit={"train": rows}, only="train", **given)
        examples, fingerprint = found.splits["train"], found.fingerprint["train"]
        tasks[name] = Task(examples, len(found.labels), fingerprint)
    return tasks


def settings(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """What both trainers are told."""
    on_cpu = options.device == "cpu"
    return {
        "output_dir": folder,
        "num_train_epochs": 1,
        "learning_rate": options.lr,
        "per_device_train_batch_size": options.batch_size,
        "weight_decay": 0.01,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "max_grad_norm": 1.0,
        "bf16": options.precision == "bf16",
        "use_cpu": on_cpu,
        "seed": options.seed,
        "logging_steps": 10,
        "save_strategy": "no",
        "report_to": "none",
        "dataloader_pin_memory": not on_cpu,
        "dataloader_num_workers": options.workers,
        "disable_tqdm": True,
    }


def trainer_of(options: argparse.Namespace, tasks: Mapping[str, Task], folder: str) -> Trainer:
    """The Hugging Face Trainer on interleaved rows."""
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    encoder = AutoModel.from_pretrained(
        options.model,
        dtype=torch.float32,
        attn_implementation=options.attention,
        use_safetensors=True,
        add_pooling_layer=False,
    )
    pairs = {name: (task.rows.texts[0], task.rows.labels) for name, task in tasks.items()}
    strategy = STRATEGIES[options.side]
    return MeteredTrainer(
        model=TwoHeads(encoder, tasks),
        args=TrainingArguments(**settings(options, folder), train_sampling_strategy=strategy),
        train_dataset=mixed_rows(
            pairs, tokenizer, max_length=options.max_length, seed=options.seed
        ),
        data_collator=DataCollatorWithPadding(tokenizer),
    )


def sentence_trainer_of(
    options: argparse.Namespace, tasks: Mapping[str, Task], folder: str
) -> Trainer:
    """sentence-transformers' trainer on a data set and a loss for each task."""
    model = sentence_transformer(
        options.model,
        max_length=options.max_length,
        attention=options.attention,
        device=options.device,
    )
    arguments = SentenceTransformerTrainingArguments(
        **settings(options, folder), multi_dataset_batch_sampler=SAMPLERS[options.side]
    )
    return MeteredSentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset={
            name: text_rows(task.rows.texts[0], task.rows.labels) for name, task in tasks.items()
        },
        loss={name: HeadLoss(model, task.num_labels) for name, task in tasks.items()},
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--side", required=True, choices=[*SAMPLERS, *STRATEGIES])
    add("--data", required=True, type=Path)
    add("--output", required=True, type=Path)
    for name in ("model", "attention", "precision", "device"):
        add(f"--{name}", required=True)
    for name in ("steps", "warmup", "batch-size", "max-length", "workers", "seed"):
        add(f"--{name}", required=True, type=int)
    add("--lr", required=True, type=float)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    tasks = load(options.data, options.steps * options.batch_size // len(SETS))
    set_seed(options.seed)
    make = trainer_of if options.side in STRATEGIES else sentence_trainer_of
    with tempfile.TemporaryDirectory() as folder:
        trainer = make(options, tasks, folder)
        trainer.meter = Meter(options.warmup, options.steps)
        trainer.add_callback(StepEnds(trainer.meter))
        trainer.train()
    prints = {name: task.fingerprint for name, task in tasks.items()}
    trainer.meter.write(options.output, fingerprints=prints, optimizer=trainer.args.optim.value)


if __name__ == "__main__":
    main()
