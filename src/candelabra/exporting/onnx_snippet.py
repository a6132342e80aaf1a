"""Example code for the model card of an ONNX export; needs numpy, onnxruntime and tokenizers."""

from __future__ import annotations

USAGE = '''\
import json
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder = Path("{model}")  # of the Hub: huggingface_hub.snapshot_download(...)
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))  # cuts and pads by itself
session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
tasks = json.loads((folder / "config.json").read_text(encoding="utf-8"))["tasks"]


def ask(texts):
    """Return every output for the texts by name, and the tokenized texts."""
    encoded = tokenizer.encode_batch(texts)
    feeds = {
        "input_ids": np.array([each.ids for each in encoded], dtype=np.int64),
        "attention_mask": np.array([each.attention_mask for each in encoded], dtype=np.int64),
    }
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds))), encoded


def answer(task, logits):
    """Return a task's prediction for one text: a label, a list of labels, or a number."""
    kind, labels = tasks[task]["kind"], tasks[task]["labels"]
    if kind == "regression":
        return float(logits[0])
    if kind == "multilabel":
        holds = 1 / (1 + np.exp(-logits)) > tasks[task]["threshold"]
        return [labels[i] for i in np.flatnonzero(holds)]
    return labels[int(logits.argmax())]


texts = ["what 1995 romantic comedy starred michael douglas", "a dull film"]
outputs, encoded = ask(texts)
print(outputs["embedding"] @ outputs["embedding"].T)
for task in tasks:
    if tasks[task]["kind"] != "tagging":
        print(task, [answer(task, logits) for logits in outputs[task]])
'''

WITH_TAGS = '''\

import re
from unicodedata import category


def joined(text):
    """Return the text with "_" in place of combining marks and joiners, which end no word."""
    return "".join("_" if category(c)[0] == "M" or c in "\\u200c\\u200d" else c for c in text)


def best_path(scores, decoding):
    """Return the tags with the largest total score (Viterbi); scores are words x tags."""
    start, steps, end = (np.array(decoding[name]) for name in ("start", "steps", "end"))
    total, back = scores[0] + start, []
    for row in scores[1:]:
        paths = total[:, None] + steps
        back.append(paths.argmax(0))
        total = paths.max(0) + row
    best = [int((total + end).argmax())]
    for step in reversed(back):
        best.append(int(step[best[-1]]))
    return best[::-1]


def tag(task, text, logits, tokens):
    """Return (word, tag) for every word that was not truncated, using its first piece."""
    pieces = [
        (place, *span)
        for place, (span, special) in enumerate(zip(tokens.offsets, tokens.special_tokens_mask))
        if not special and span[1] > span[0]
    ]
    words, first = [], []
    for match in re.finditer(r"\\w+|[^\\w\\s]", joined(text)):
        inside = [p for p, begin, end in pieces if end > match.start() and begin < match.end()]
        if inside:
            words.append(text[match.start() : match.end()])
            first.append(inside[0])
    if not words:
        return []
    best = best_path(logits[first], tasks[task]["decoding"])
    return list(zip(words, [tasks[task]["labels"][i] for i in best]))


for task in tasks:
    if tasks[task]["kind"] == "tagging":
        for text, logits, tokens in zip(texts, outputs[task], encoded):
            print(task, tag(task, text, logits, tokens))
'''
