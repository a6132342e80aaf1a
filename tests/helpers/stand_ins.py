"""Small local folders in place of what tests must not download: data sets and pretrained models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SENTENCE = "which great dull film with a cast of actors from the year was shown twice"
WORDS = SENTENCE.split(" ")
ROWS = 96

HUB_MODELS = {
    "google-bert/bert-base-uncased": ("bert", 512),
    "sentence-transformers/bert-base-nli-mean-tokens": ("bert", 512),
    "sentence-transformers/all-mpnet-base-v2": ("mpnet", 514),
    "distilbert/distilroberta-base": ("roberta", 514),
    "FacebookAI/roberta-base": ("roberta", 514),
    "answerdotai/ModernBERT-base": ("modernbert", 8192),
}
"""Hub id -> architecture, and the positions of the real model."""

MARKS = {
    "bert": ("[PAD]", "[CLS]", "[SEP]", "[UNK]"),
    "modernbert": ("[PAD]", "[CLS]", "[SEP]", "[UNK]"),
    "mpnet": ("<pad>", "<s>", "</s>", "<unk>"),
    "roberta": ("<pad>", "<s>", "</s>", "<unk>"),
}
PAD_ID = {"bert": 0, "modernbert": 0, "mpnet": 1, "roberta": 1}


def text(row: int) -> str:
    """A text whose length and words differ from row to row."""
    return " ".join(WORDS[(row * 5 + place) % len(WORDS)] for place in range(3 + row % 9))


def texts_and_labels(num_labels: int) -> dict[str, list[Any]]:
    """Columns as in a data set of single texts; labels are numbers."""
    rows = range(ROWS)
    return {"text": [text(row) for row in rows], "label": [row % num_labels for row in rows]}


def tokens_and_tags() -> dict[str, list[Any]]:
    """Columns as in the MIT files; tag 1 begins an entity of two words, tag 2 goes on with it."""
    tokens = [text(row).split() for row in range(ROWS)]
    return {"tokens": tokens, "tags": [[1, 2, *[0] * (len(words) - 2)] for words in tokens]}


def scored_pairs() -> dict[str, list[Any]]:
    """Columns of pairs with a score from 0 to 5."""
    texts = [text(row) for row in range(ROWS)]
    scores = [row % 11 / 2 for row in range(ROWS)]
    return {"sentence1": texts, "sentence2": texts[::-1], "score": scores}


def inferences() -> dict[str, list[Any]]:
    """Columns of premise, hypothesis and label; each premise has three hypotheses."""
    premises = [f"{text(row // 3)} {row // 3}" for row in range(ROWS)]
    hypotheses = [f"{row} {text(row)}" for row in range(ROWS)]
    return {
        "premise": premises,
        "hypothesis": hypotheses,
        "label": [row % 3 for row in range(ROWS)],
    }


def write_data(folder: Path) -> Path:
    """Every data set that a shipped task reads from `data_dir`, in a few rows."""
    banking = texts_and_labels(3)
    names = ["activate_my_card", "card_arrival", "exchange_rate"]
    banking["label_text"] = [names[label] for label in banking["label"]]
    sets = {
        "imdb": (("train", "test"), texts_and_labels(2)),
        "mit_movie_trivia": (("train", "validation", "test"), tokens_and_tags()),
        "mit_movie_eng": (("train", "test"), tokens_and_tags()),
        "banking77": (("train", "test"), banking),
        "stsb": (("train", "validation", "test"), scored_pairs()),
        "multinli_subset": (("train", "validation"), inferences()),
        "lingnli": (("train", "validation"), inferences()),
    }
    for name, (splits, columns) in sets.items():
        (folder / name).mkdir(parents=True)
        for split in splits:
            pq.write_table(pa.table(columns), folder / name / f"{split}.parquet")
    return folder


def write_model(folder: Path, architecture: str, positions: int) -> Path:
    """A random model of an architecture and a tokenizer of few words, for `from_pretrained`."""
    from helpers.small_models import save_encoder

    tokenizer = small_tokenizer(architecture)
    return save_encoder(
        folder,
        architecture,
        tokenizer=tokenizer,
        num_hidden_layers=4,
        max_position_embeddings=positions,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=None,
    )


def small_tokenizer(architecture: str) -> Any:
    """A fast tokenizer with the special tokens, and the padding id, of an architecture."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pad, begin, end, unknown = MARKS[architecture]
    marks = [begin, pad, end, unknown] if PAD_ID[architecture] else [pad, begin, end, unknown]
    pieces = [*marks, "[MASK]", *WORDS, *"abcdefghijklmnopqrstuvwxyz?.,'", "##s", "##ed"]
    vocabulary = {piece: position for position, piece in enumerate(dict.fromkeys(pieces))}
    raw = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ids = [(mark, vocabulary[mark]) for mark in (begin, end)]
    raw.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=ids
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=pad,
        cls_token=begin,
        sep_token=end,
        unk_token=unknown,
        mask_token="[MASK]",
    )
