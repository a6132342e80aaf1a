from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candelabra.bundle.bundle import Bundle
from candelabra.errors import ConfigError
from candelabra.exporting.sentence_transformers import FLAGS, write
from candelabra.model.heads.classification import ClassificationHead
from candelabra.model.heads.tagging import TaggingHead
from helpers.bundles import adapt
from helpers.exports import LENGTH, MOODS, TAGS, TEXTS, bundle_of, foreign
from helpers.small_models import WIDTH

EXPORTED = ["cls", "cls_pooler", "last_token", "max", "mean", "mean_sqrt_len", "weighted_mean"]
"""The options that this format has; `modules` is tested in tests/model/test_sentence_folder.py."""
SCRIPT = """
import json, logging, warnings
from pathlib import Path
exec(Path("usage.py").read_text())
texts = json.loads(Path("texts.json").read_text())
found = {}
for folder in sorted(path for path in Path().iterdir() if path.is_dir()):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SentenceTransformer(str(folder), device="cpu")
        vectors = model.encode(texts, batch_size=3, show_progress_bar=False)
    found[folder.name] = [vectors.tolist(), model.max_seq_length]
print(json.dumps(found))
"""


def made(**settings: Any) -> Bundle:
    heads = {"mood": ClassificationHead(WIDTH, MOODS), "who": TaggingHead(WIDTH, TAGS)}
    return bundle_of(heads, **settings)


def adapted() -> Bundle:
    bundle = made()
    adapt(bundle.model.encoder, list(bundle.labels), per_task=True)
    return bundle


def cases() -> dict[str, tuple[Callable[[], Bundle], str | None]]:
    """What is exported, and for which task."""
    found: dict[str, tuple[Callable[[], Bundle], str | None]] = {
        f"pooling {name}": (partial(made, pooling=name, normalize=False), None) for name in EXPORTED
    }
    found |= {
        f"{kind} {name}": (partial(made, kind=kind, pooling=name), None)
        for kind in ("mpnet", "roberta", "distilbert", "modernbert")
        for name in ("mean", "cls_pooler")
    }
    found["normalized"] = (made, None)
    found["dense, normalized"] = (partial(made, pooling="cls_pooler"), None)
    found["tail"] = (partial(made, truncation="tail"), None)
    found["own pooling"] = (partial(made, own={"mood": "max"}), "mood")
    found["adapter"] = (adapted, "who")
    return found


@pytest.fixture(scope="module")
def bundles() -> dict[str, tuple[Bundle, str | None]]:
    return {name: (make(), task) for name, (make, task) in cases().items()}


@pytest.fixture(scope="module")
def opened(
    bundles: Mapping[str, tuple[Bundle, str | None]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What sentence-transformers makes of them, all in one process."""
    root = tmp_path_factory.mktemp("exported")
    for name, (bundle, task) in bundles.items():
        (root / name).mkdir()
        written = write(bundle if task is None else bundle.merged(task), root / name, task)
        (root / "usage.py").write_text(written.usage.replace("{model}", name))
    (root / "texts.json").write_text(json.dumps(TEXTS))
    found, err = foreign(SCRIPT, folder=root)
    assert "MISSING" not in err
    assert "Warning" not in err
    return found


@pytest.mark.parametrize("name", list(cases()))
def test_vectors_are_those_of_embed(
    name: str, bundles: Mapping[str, tuple[Bundle, str | None]], opened: dict[str, Any]
) -> None:
    bundle, task = bundles[name]
    vectors, length = opened[name]
    np.testing.assert_allclose(vectors, bundle.embed(TEXTS, task=task), atol=1e-5)
    assert length == LENGTH


def test_each_pooling_gives_other_vectors(opened: dict[str, Any]) -> None:
    found = [np.array(opened[f"pooling {name}"][0]) for name in EXPORTED]
    for place, vectors in enumerate(found):
        assert all(np.abs(vectors - other).max() > 1e-3 for other in found[:place])


def test_every_pooling_is_exported_or_refused() -> None:
    assert len(EXPORTED) == len(FLAGS) + 1  # cls_pooler: cls and a dense layer


@pytest.mark.parametrize(
    ("settings", "task", "said"),
    [
        ({"pooling": "attention"}, None, "the pooling AttentionPooling.*carry it: onnx"),
        ({"own": {"mood": "attention"}}, "mood", "the pooling AttentionPooling"),
        ({"mixed": ["mood"]}, "mood", "the layer_mix of tasks.mood; formats that carry it: onnx"),
    ],
)
def test_what_no_module_computes_is_refused(
    settings: dict[str, Any], task: str | None, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"format=sentence_transformers cannot hold {said}"):
        write(made(**settings), tmp_path, task)
    assert not list(tmp_path.iterdir())


def test_a_cross_encoder_gives_no_vectors(tmp_path: Path) -> None:
    bundle = made()
    bundle.config.tasks["mood"]["cross"] = True
    with pytest.raises(ConfigError, match=r"cannot hold tasks\.mood: a cross-encoder gives no vec"):
        write(bundle, tmp_path, "mood")
    assert not list(tmp_path.iterdir())
    write(bundle, tmp_path / "of_the_others", None)
    bundle.config.tasks["who"]["cross"] = True
    with pytest.raises(ConfigError, match=r"cannot hold tasks\.mood: a cross-encoder gives no vec"):
        write(bundle, tmp_path, None)


def test_module_paths_are_those_of_version_5(tmp_path: Path) -> None:
    written = write(made(pooling="cls_pooler"), tmp_path, None)
    rows = json.loads((tmp_path / "modules.json").read_text())
    assert [row["type"] for row in rows] == [
        f"sentence_transformers.models.{name}"
        for name in ("Transformer", "Pooling", "Dense", "Normalize")
    ]
    assert all((tmp_path / row["path"] / "config.json").is_file() for row in rows)
    assert json.loads((tmp_path / "sentence_bert_config.json").read_text()) == {
        "max_seq_length": LENGTH,
        "do_lower_case": False,
    }
    assert "(mood, who) are left out" in written.limits[0]
