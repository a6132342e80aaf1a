from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from candelabra.bundle.config import BundleConfig
from candelabra.errors import ConfigError
from candelabra.exporting import onnx, transformers
from candelabra.exporting.folder import replacing_folder
from candelabra.exporting.formats import check_task, check_truncation
from candelabra.model.heads.classification import ClassificationHead
from helpers.exports import MOODS, bundle_of
from helpers.small_models import WIDTH

BOTH = BundleConfig(pooling={}, tasks={"mood": {}, "who": {}}, max_length=8, truncation="head")
ADAPTED = replace(BOTH, adapter={})


@pytest.mark.parametrize(
    ("form", "given", "config", "task"),
    [
        ("sentence_transformers", None, BOTH, None),
        ("onnx", None, BOTH, None),
        ("onnx", "who", ADAPTED, "who"),
        ("transformers", "who", BOTH, "who"),
        ("transformers", None, replace(BOTH, tasks={"mood": {}}), "mood"),
    ],
)
def test_which_task_is_exported(
    form: str, given: str | None, config: BundleConfig, task: str | None
) -> None:
    assert check_task(form, given, config) == task


@pytest.mark.parametrize("form", ["sentence_transformers", "onnx", "transformers"])
def test_an_adapter_for_each_task_asks_for_one(form: str) -> None:
    with pytest.raises(ConfigError, match="task must be one of mood, who"):
        check_task(form, None, ADAPTED)


def test_truncations_that_files_know() -> None:
    assert check_truncation("head", None) == "head"
    assert check_truncation("tail", None) == "tail"
    assert check_truncation("head_tail", "tail") == "tail"
    with pytest.raises(
        ConfigError, match=r"truncation=head_tail; .*truncation=head or truncation=tail"
    ):
        check_truncation("head_tail", None)
    with pytest.raises(ConfigError, match="must be one of head, tail, got 'middle'"):
        check_truncation("head", "middle")


@pytest.mark.parametrize("module", [onnx, transformers])
def test_a_prompt_is_refused(module: Any, tmp_path: Path) -> None:
    bundle = bundle_of({"mood": ClassificationHead(WIDTH, MOODS)}, pooling="cls_pooler")
    bundle.tokenizer.prompt = "find: "
    with pytest.raises(ConfigError, match="cannot hold the prompt 'find: '"):
        module.write(bundle, tmp_path, "mood")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_appears_meanwhile_stays(overwrite: bool, tmp_path: Path) -> None:
    output = tmp_path / "exported"

    def exported() -> None:
        with replacing_folder(output, overwrite=overwrite) as draft:
            (draft / "model").touch()
            output.mkdir()
            (output / "mine").touch()

    with pytest.raises(ConfigError, match=r"not empty|replaces exports only"):
        exported()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == [
        "exported",
        "exported/mine",
    ]
