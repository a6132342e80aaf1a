from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from candelabra.bundle.bundle import Bundle
from candelabra.bundle.checkpoint import TEXT_LAYERS
from candelabra.errors import ConfigError
from candelabra.exporting.transformers import CUTS, NO_WORDS, VITERBI, WORDS, write
from candelabra.model.heads.base import Head
from candelabra.model.heads.classification import ClassificationHead, MlpHead
from candelabra.model.heads.crf import CrfHead
from candelabra.model.heads.multilabel import MultiLabelHead
from candelabra.model.heads.regression import RegressionHead
from candelabra.model.heads.tagging import TaggingHead, TaggingMlpHead
from helpers.exports import LENGTH, MOODS, TAGS, TEXTS, bundle_of, foreign
from helpers.small_models import WIDTH, byte_level

SPACED = [*TEXTS, "caf\u00e9 de flore ( 2011 ) , directed by michael douglas !"]
KINDS = ("bert", "mpnet", "roberta", "distilbert", "xlm-roberta", "camembert")
SCRIPT = """
import json, warnings
from pathlib import Path
exec(Path("usage.py").read_text())
texts = json.loads(Path("texts.json").read_text())
found = {}
for folder in sorted(path for path in Path().iterdir() if path.is_dir()):
    config = json.loads((folder / "config.json").read_text())
    if config["architectures"][0].endswith("ForTokenClassification"):
        task, asked, call = "token-classification", {"aggregation_strategy": "first"}, {}
    else:
        task, asked, call = "text-classification", {"top_k": None}, {"truncation": True}
        if config["problem_type"] == "regression":
            asked["function_to_apply"] = "none"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tokenizer does not support real words")
        answers = pipeline(task, model=str(folder), device="cpu", **asked)(texts, **call)
    found[folder.name] = [[
        {key: value if isinstance(value, str) else float(value) for key, value in each.items()}
        for each in answer
    ] for answer in answers]
print(json.dumps(found))
"""


def tagging() -> Head:
    return TaggingHead(WIDTH, TAGS, constrained=False)


def cases() -> dict[str, Callable[[], Bundle]]:
    found = {f"tags {kind}": partial(bundle_of, {"it": tagging()}, kind=kind) for kind in KINDS}
    found["tags tail"] = partial(bundle_of, {"it": tagging()}, truncation="tail")
    found["tags bytes"] = lambda: bundle_of(
        {"it": tagging()}, kind="roberta", tokenizer=byte_level(SPACED)
    )
    heads: dict[str, Head] = {
        "labels": ClassificationHead(WIDTH, MOODS),
        "several": MultiLabelHead(WIDTH, MOODS),
        "number": RegressionHead(WIDTH),
    }
    found |= {
        f"{name} {kind}": partial(bundle_of, {"it": head}, kind=kind, pooling="cls_pooler")
        for kind in TEXT_LAYERS
        for name, head in heads.items()
    }
    for kind in TEXT_LAYERS:
        mlp = {"it": MlpHead(WIDTH, MOODS)}
        found[f"mlp {kind}"] = partial(bundle_of, mlp, kind=kind, pooling="mean", own={"it": "cls"})
    return found


@pytest.fixture(scope="module")
def bundles() -> dict[str, Bundle]:
    return {name: make() for name, make in cases().items()}


@pytest.fixture(scope="module")
def opened(
    bundles: Mapping[str, Bundle], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the pipelines answer, all in one process."""
    root = tmp_path_factory.mktemp("exported")
    usages: dict[str, str] = {}
    for name, bundle in bundles.items():
        (root / name).mkdir()
        usage = write(bundle, root / name, "it").usage
        usages.setdefault(usage, usage.replace("{model}", name))
    assert len(usages) == 3
    (root / "usage.py").write_text("\n".join(usages.values()))
    (root / "texts.json").write_text(json.dumps(SPACED))
    found, err = foreign(SCRIPT, folder=root)
    assert "MISSING" not in err
    assert "Warning" not in err
    return found


def as_ours(kind: str, answers: list[dict[str, Any]], text: str) -> Any:
    """A pipeline's answer in the form of ours."""
    if kind == "tags":
        return [
            (
                each["entity_group"],
                int(each["start"]),
                int(each["end"]),
                pytest.approx(each["score"], abs=1e-4),
            )
            for each in answers
        ]
    if kind == "number":
        (answer,) = answers
        assert answer["label"] == "it"
        return {"number": pytest.approx(answer["score"], abs=1e-4)}
    return {each["label"]: pytest.approx(each["score"], abs=1e-4) for each in answers}


@pytest.mark.parametrize("name", list(cases()))
def test_answers_are_those_of_predict(
    name: str, bundles: Mapping[str, Bundle], opened: dict[str, Any]
) -> None:
    kind = name.split()[0]
    texts = SPACED[:2] + SPACED[-1:] if name == "tags bytes" else SPACED
    for text, ours in zip(texts, bundles[name].predict(texts), strict=True):
        found = as_ours(kind, opened[name][SPACED.index(text)], text)
        answer = ours["it"]
        if kind == "tags":
            assert [(s["type"], s["start"], s["end"], s["score"]) for s in answer] == found
        elif kind == "number":
            assert answer == found
        else:
            assert answer["probabilities"] == found


def test_the_tagged_texts_hold_spans(bundles: Mapping[str, Bundle]) -> None:
    for name, bundle in bundles.items():
        if name.startswith("tags"):
            assert sum(len(answer["it"]) for answer in bundle.predict(SPACED)) > 3


REFUSED: dict[str, tuple[Callable[[], Bundle], str]] = {
    "crf": (partial(bundle_of, {"it": CrfHead(WIDTH, TAGS)}), "tasks.it.head, CrfHead"),
    "tagging mlp": (
        partial(bundle_of, {"it": TaggingMlpHead(WIDTH, TAGS)}),
        "head, TaggingMlpHead",
    ),
    "mix": (partial(bundle_of, {"it": tagging()}, mixed=["it"]), "the layer_mix of tasks.it"),
    "modernbert": (
        partial(bundle_of, {"it": tagging()}, kind="modernbert"),
        "tasks.it: ModernBertForTokenClassification has layers beyond one",
    ),
    **{
        f"linear over {pooling}": (
            partial(bundle_of, {"it": ClassificationHead(WIDTH, MOODS)}, pooling=pooling),
            r"linear\(tanh\(dense\(\[CLS\]\)\)\)",
        )
        for pooling in ("mean", "max", "cls", "attention", "last_token", "weighted_mean")
    },
    "mlp over mean": (
        partial(bundle_of, {"it": MlpHead(WIDTH, MOODS)}),
        "pooling=cls with head mlp",
    ),
    "mlp over cls_pooler": (
        partial(bundle_of, {"it": MlpHead(WIDTH, MOODS)}, pooling="cls_pooler"),
        "pooling=cls with head mlp",
    ),
    **{
        kind: (
            partial(bundle_of, {"it": MlpHead(WIDTH, MOODS)}, kind=kind, pooling="cls"),
            f"of {kind}, whose class has other layers",
        )
        for kind in ("distilbert",)
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_classes_cannot_hold_is_refused(name: str, tmp_path: Path) -> None:
    make, said = REFUSED[name]
    with pytest.raises(ConfigError, match=rf"format=transformers cannot hold .*{said}.*: onnx$"):
        write(make(), tmp_path, "it")
    assert not list(tmp_path.iterdir())


def test_an_unknown_head_is_refused_by_its_class(tmp_path: Path) -> None:
    class Other(ClassificationHead):
        pass

    bundle = bundle_of({"it": Other(WIDTH, MOODS)}, pooling="cls_pooler")
    with pytest.raises(ConfigError, match="Other; formats that carry it: none"):
        write(bundle, tmp_path, "it")


@pytest.mark.parametrize(
    ("head", "limits"),
    [
        (TaggingHead(WIDTH, TAGS), [WORDS, VITERBI]),
        (tagging(), [WORDS]),
        (ClassificationHead(WIDTH, MOODS), [CUTS]),
    ],
)
def test_what_differs_is_said(head: Head, limits: list[str], tmp_path: Path) -> None:
    written = write(bundle_of({"it": head}, pooling="cls_pooler"), tmp_path, "it")
    assert written.limits == limits
    assert written.checked is not None
    assert written.checked < 1e-5


def test_punctuation_without_spaces_is_said_of_byte_level_tokenizers(tmp_path: Path) -> None:
    bundle = bundle_of({"it": tagging()}, kind="roberta", tokenizer=byte_level(SPACED))
    assert write(bundle, tmp_path, "it").limits == [NO_WORDS]


def test_labels_have_names(tmp_path: Path) -> None:
    write(bundle_of({"it": tagging()}), tmp_path, "it")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"] == {str(place): tag for place, tag in enumerate(TAGS)}
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert settings["model_max_length"] == LENGTH
    assert settings["model_input_names"] == ["input_ids", "attention_mask"]
