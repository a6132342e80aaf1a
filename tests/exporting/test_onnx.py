from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from candelabra.bundle.bundle import Bundle
from candelabra.bundle.predict import WORD, with_marks_joined
from candelabra.data.rows.examples import Examples
from candelabra.errors import ConfigError
from candelabra.exporting.card import card
from candelabra.exporting.formats import ExportResult
from candelabra.exporting.int8 import measure, tokenized
from candelabra.exporting.onnx import FILE, INT8, Graph, write
from candelabra.metrics.classification import ClassificationMetrics
from candelabra.metrics.regression import RegressionMetrics
from candelabra.metrics.spans import SpanMetrics
from candelabra.model.heads.base import Head
from candelabra.model.heads.classification import ClassificationHead, MlpHead
from candelabra.model.heads.crf import CrfHead
from candelabra.model.heads.embedding import EmbeddingHead
from candelabra.model.heads.multilabel import MultiLabelHead
from candelabra.model.heads.pair import PairHead
from candelabra.model.heads.regression import RegressionHead
from candelabra.model.heads.tagging import TaggingHead, TaggingMlpHead
from candelabra.model.onnx_graph import largest_difference, quantize
from helpers import exports
from helpers.exports import LENGTH, MOODS, TAGS, bundle_of, foreign
from helpers.small_models import POOLINGS, WIDTH

TEXTS = [*exports.TEXTS, "did Ame\u0301lie win?"]  # an accent behind its letter

SCRIPT = """
import json, re, sys
from pathlib import Path
code = re.search("```python\\n(.*?)```", Path("graph/README.md").read_text(), re.S).group(1)
exec(code)
texts = json.loads(Path("texts.json").read_text())
outputs, encoded = ask(texts)
answers = []
for row, text in enumerate(texts):
    found = {}
    for task in tasks:
        logits = outputs[task][row]
        if tasks[task]["kind"] == "tagging":
            found[task] = tag(task, text, logits, encoded[row])
        else:
            found[task] = answer(task, logits)
    answers.append(found)
assert not {"torch", "transformers"} & set(sys.modules)
from transformers import AutoTokenizer
ours = AutoTokenizer.from_pretrained("graph")(texts, padding=True, truncation=True)
assert ours["input_ids"] == [each.ids for each in encoded]
print()
print(json.dumps([outputs["embedding"].tolist(), answers]))
"""


def every_head() -> dict[str, Head]:
    """One for each pooling, and one of each other kind."""
    found: dict[str, Head] = {f"p_{name}": ClassificationHead(WIDTH, MOODS) for name in POOLINGS}
    return found | {
        "mlp": MlpHead(WIDTH, MOODS),
        "several": MultiLabelHead(WIDTH, MOODS, threshold=0.4),
        "number": RegressionHead(WIDTH),
        "who": TaggingHead(WIDTH, TAGS),
        "who_freely": TaggingHead(WIDTH, TAGS, constrained=False),
        "who_mlp": TaggingMlpHead(WIDTH, TAGS),
        "who_crf": CrfHead(WIDTH, TAGS),
        "mixed": ClassificationHead(WIDTH, MOODS),
        "who_mixed": CrfHead(WIDTH, TAGS),
    }


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    own = {f"p_{name}": name for name in POOLINGS}
    return bundle_of(
        every_head(), own=own, mixed=["mixed", "who_mixed"], pooling="attention", num_layers=1
    )


@pytest.fixture(scope="module")
def graph(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportResult]:
    folder = tmp_path_factory.mktemp("exported") / "graph"
    folder.mkdir()
    written = write(bundle, folder, None)
    kinds = {task: bundle.model.head(task).kind for task in bundle.labels}
    text = card(bundle, written, name="graph", model="graph", kinds=kinds)
    (folder / "README.md").write_text(text)
    return folder, written


def test_the_graph_is_the_model_at_every_size(graph: tuple[Path, ExportResult]) -> None:
    assert graph[1].checked is not None
    assert graph[1].checked < 1e-4


def test_there_is_one_encoder(graph: tuple[Path, ExportResult], bundle: Bundle) -> None:
    model = onnx.load(graph[0] / FILE)
    sizes = [int(np.prod(tensor.dims)) for tensor in model.graph.initializer]
    vocabulary = len(bundle.tokenizer.tokenizer)
    assert sizes.count(vocabulary * WIDTH) == 1
    assert sum(sizes) < 1.1 * sum(p.numel() for p in bundle.model.parameters())
    assert [value.name for value in model.graph.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in model.graph.output] == ["embedding", *bundle.labels]


def test_it_names_no_place(graph: tuple[Path, ExportResult]) -> None:
    content = (graph[0] / FILE).read_bytes()
    assert b"candelabra" not in content
    assert b"site-packages" not in content


def expected(bundle: Bundle) -> list[dict[str, Any]]:
    """What predict says, in the words of the card's code."""
    spans = [[m.span() for m in WORD.finditer(with_marks_joined(text))] for text in TEXTS]
    words = [[text[slice(*span)] for span in each] for text, each in zip(TEXTS, spans, strict=True)]
    split = tokenized(
        Examples((TEXTS,), [[] for _ in TEXTS], spans, list(range(len(TEXTS)))),
        bundle.tokenizer,
        None,
    )
    batch = split.batch(range(len(TEXTS)))
    with torch.inference_mode():
        logits = bundle.model.infer_all(batch.texts[0], batch.first_BW)
    answers: list[dict[str, Any]] = [{} for _ in TEXTS]
    for task in bundle.labels:
        found = bundle.model.head(task).decode(logits[task], batch.first_BW)
        for row, value in enumerate(found.tolist()):
            labels = bundle.labels[task]
            if task.startswith("who"):
                kept = [place for place, at in enumerate(split.texts[0].words(row)) if at >= 0]
                answers[row][task] = [[words[row][i], labels[value[i]]] for i in kept]
            elif task == "number":
                answers[row][task] = pytest.approx(value, abs=1e-4)
            elif task == "several":
                answers[row][task] = [labels[i] for i, holds in enumerate(value) if holds]
            else:
                answers[row][task] = labels[value]
    return answers


def test_the_cards_code_answers_as_predict_does(
    graph: tuple[Path, ExportResult], bundle: Bundle
) -> None:
    (graph[0].parent / "texts.json").write_text(json.dumps(TEXTS))
    (vectors, answers), _ = foreign(SCRIPT, folder=graph[0].parent)
    np.testing.assert_allclose(vectors, bundle.embed(TEXTS), atol=1e-4)
    assert answers == expected(bundle)
    who = [task for task in bundle.labels if task.startswith("who")]
    tags = {tag for answer in answers for task in who for _, tag in answer[task]}
    assert tags == set(TAGS)


def test_one_task_alone_has_its_own_embedding(tmp_path: Path) -> None:
    heads: dict[str, Head] = {
        "mood": ClassificationHead(WIDTH, MOODS),
        "who": TaggingHead(WIDTH, TAGS),
    }
    bundle = bundle_of(heads, own={"mood": "max"}, mixed=["mood"], normalize=False)
    graph = Graph(bundle.merged("mood"), "mood").eval()
    assert graph.outputs == ["embedding", "mood"]
    tokenized = bundle.tokenizer(TEXTS[:1])
    ids_BL = torch.from_numpy(tokenized.text(0)).long()[None]
    with torch.inference_mode():
        found = graph(ids_BL, torch.ones_like(ids_BL))[0]
    np.testing.assert_allclose(
        found, bundle.embed(TEXTS[:1], task="mood", normalize=False), atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mpnet", "roberta", "distilbert", "modernbert"])
def test_other_encoders(kind: str, tmp_path: Path) -> None:
    own = {f"p_{name}": name for name in POOLINGS}
    bundle = bundle_of(every_head(), kind=kind, own=own, mixed=["mixed", "who_mixed"])
    written = write(bundle, tmp_path, None)
    assert written.checked is not None
    assert written.checked < 1e-4


def test_int8_is_measured(graph: tuple[Path, ExportResult], bundle: Bundle, tmp_path: Path) -> None:
    folder = graph[0]
    quantize(folder / FILE, folder / INT8)
    assert (folder / INT8).stat().st_size < 0.35 * (folder / FILE).stat().st_size
    apart = largest_difference(Graph(bundle, None).eval(), folder / INT8, bundle.tokenizer)
    assert apart > 1e-4
    texts = [f"{text} {number}" for number in range(6) for text in TEXTS]
    rows = list(range(len(texts)))
    spans = [[m.span() for m in re.finditer(r"\w+", text)] for text in texts]
    tags = [[i % len(TAGS) for i in range(len(each))] for each in spans]
    examples = {
        "mlp": Examples((texts,), [row % 3 for row in rows], None, rows),
        "number": Examples((texts,), [float(row) for row in rows], None, rows),
        "who_crf": Examples((texts,), tags, spans, rows),
    }
    splits = {name: tokenized(each, bundle.tokenizer, None) for name, each in examples.items()}
    metrics = {
        "mlp": ClassificationMetrics(MOODS),
        "number": RegressionMetrics(),
        "who_crf": SpanMetrics(TAGS),
    }
    found = measure(folder, bundle.model, splits, metrics, split="test")
    assert list(found.metrics) == [FILE, INT8]
    for task, split in splits.items():
        batch = split.batch(range(len(split)))
        with torch.inference_mode():
            logits = bundle.model({task: batch})[task]
        metrics[task].update(bundle.model.head(task).decode(logits, batch.first_BW), batch.labels)
        for key, value in metrics[task].compute().items():
            if "/" not in key:
                assert found.metrics[FILE][f"test/{task}/{key}"] == pytest.approx(
                    float(value), abs=1e-3
                )
    assert found.sizes == dict.fromkeys(("mlp", "number", "who_crf"), 6 * len(TEXTS))
    (folder / INT8).unlink()


def test_a_limit_draws_the_same_examples(bundle: Bundle) -> None:
    examples = Examples((TEXTS,), [0, 1, 2, 0, 1], None, [0, 1, 2, 3, 4])
    drawn = [tokenized(examples, bundle.tokenizer, 2).examples for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 2
    assert len(tokenized(examples, bundle.tokenizer, 9).examples) == len(TEXTS)


def test_a_taken_name_is_refused(tmp_path: Path) -> None:
    bundle = bundle_of({"embedding": ClassificationHead(WIDTH, MOODS)})
    with pytest.raises(ConfigError, match=r"tasks\.embedding: format=onnx reserves this name"):
        write(bundle, tmp_path, None)


def test_an_unknown_head_is_refused_by_its_class(tmp_path: Path) -> None:
    class Other(TaggingHead):
        pass

    with pytest.raises(ConfigError, match=r"format=onnx cannot hold tasks\.it\.head, Other"):
        write(bundle_of({"it": Other(WIDTH, TAGS)}), tmp_path, None)


def test_an_embedding_head_adds_no_output() -> None:
    heads: dict[str, Head] = {"it": EmbeddingHead(WIDTH), "mood": ClassificationHead(WIDTH, MOODS)}
    assert Graph(bundle_of(heads), None).outputs == ["embedding", "mood"]


def test_heads_over_pairs_are_refused(tmp_path: Path) -> None:
    crossed = ClassificationHead(WIDTH, MOODS)
    crossed.alone = False
    heads = {r"tasks\.it\.head, PairHead": PairHead(WIDTH, MOODS), "tasks.it: a cross": crossed}
    for said, head in heads.items():
        with pytest.raises(ConfigError, match=f"format=onnx cannot hold {said}"):
            write(bundle_of({"it": head}), tmp_path, None)


def test_config_says_what_the_outputs_mean(graph: tuple[Path, ExportResult]) -> None:
    found = json.loads((graph[0] / "config.json").read_text())
    assert found["max_length"] == LENGTH
    assert found["tasks"]["several"] == {"kind": "multilabel", "labels": MOODS, "threshold": 0.4}
    crf, freely = (found["tasks"][task]["decoding"] for task in ("who_crf", "who_freely"))
    assert np.abs(crf["steps"]).max() >= 1e4
    assert not np.any(freely["steps"])
