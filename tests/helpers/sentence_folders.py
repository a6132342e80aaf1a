"""Small random folders saved by SentenceTransformer, and in the layouts of its older versions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling

from helpers.small_models import save_encoder

WIDTH = 32
FLAGS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def saved(folder: Path, *modules: torch.nn.Module, length: int = 64, **settings: Any) -> Path:
    """Return a folder with a random BERT followed by these modules, saved by version 6."""
    bert = folder.with_name(f"{folder.name}-bert")
    save_encoder(bert, hidden_size=WIDTH, num_hidden_layers=2, max_position_embeddings=512)
    parts = [Transformer(str(bert), max_seq_length=length), *modules]
    SentenceTransformer(modules=parts, device="cpu", **settings).save(str(folder))
    return folder


def kinds() -> dict[str, list[torch.nn.Module]]:
    """Modules of each kind that a folder can have behind its encoder."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        norm = LayerNorm(WIDTH)
        torch.nn.init.normal_(norm.norm.weight)
        found: dict[str, list[torch.nn.Module]] = {
            mode: [Pooling(WIDTH, pooling_mode=mode)] for mode in FLAGS
        }
        return found | {
            "normalize": [Pooling(WIDTH, pooling_mode="cls"), Normalize()],
            "several poolings": [Pooling(WIDTH, pooling_mode=["max", "cls", "mean"]), Normalize()],
            "dense": [Pooling(WIDTH, pooling_mode="cls"), Dense(WIDTH, 16), Normalize()],
            "two dense": [
                Pooling(WIDTH, pooling_mode="mean"),
                Dense(WIDTH, 48, bias=False, activation_function=torch.nn.GELU()),
                Dense(48, 48, activation_function=None, use_residual=True),
                Dense(48, 8, activation_function=torch.nn.Identity(), use_residual=True),
            ],
            "normalize between": [Pooling(WIDTH), Normalize(), Dense(WIDTH, 12)],
            "layer norm and dropout": [Pooling(WIDTH), Dropout(0.5), norm, Normalize()],
        }


def made_old(folder: Path) -> Path:
    """Rewrite a folder in the layout of versions 2 to 5, in place."""
    rows = json.loads((folder / "modules.json").read_text())
    for row in rows:
        row["type"] = f"sentence_transformers.models.{row['type'].rpartition('.')[2]}"
        file = folder / row["path"] / "config.json"
        settings = json.loads(file.read_text()) if row["path"] and file.is_file() else {}
        if row["type"].endswith("Pooling"):
            modes = settings["pooling_mode"]
            modes = [modes] if isinstance(modes, str) else modes
            old = {flag: mode in modes for mode, flag in FLAGS.items()}
            file.write_text(json.dumps({"word_embedding_dimension": WIDTH, **old}))
        elif row["type"].endswith("Dense"):
            for key in ("module_input_name", "module_output_name"):
                settings.pop(key)
            file.write_text(json.dumps(settings))
    (folder / "modules.json").write_text(json.dumps(rows))
    tokenizer = folder / "tokenizer_config.json"
    settings = json.loads(tokenizer.read_text())
    length = settings.pop("model_max_length")
    tokenizer.write_text(json.dumps({**settings, "model_max_length": 512}))
    old = {"max_seq_length": length, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(old))
    return folder


def made_oldest(folder: Path) -> Path:
    """Rewrite a folder in the layout of version 0 and 1, with the encoder in `0_Transformer`."""
    made_old(folder)
    (folder / "0_Transformer").mkdir()
    for file in [file for file in folder.iterdir() if file.is_file()]:
        if file.name not in ("modules.json", "config_sentence_transformers.json", "README.md"):
            shutil.move(file, folder / "0_Transformer" / file.name)
    rows = json.loads((folder / "modules.json").read_text())
    rows[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(rows))
    return folder
