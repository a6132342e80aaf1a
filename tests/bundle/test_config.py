from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from candelabra.bundle.bundle import load
from candelabra.bundle.config import FORMAT, BundleConfig
from candelabra.bundle.folder import stored_config
from candelabra.errors import BundleError
from helpers.bundles import MOOD, WHO, edit, made
from helpers.command_line import called, python
from helpers.small_models import pooling_node

CONFIG = BundleConfig(
    pooling=pooling_node("mean"),
    tasks={"mood": {"head": MOOD}, "who": {"head": WHO, "layer_mix": True}},
    max_length=32,
    truncation="tail",
    normalize=False,
    adapter={"_target_": "candelabra.model.adapters.Lora", "per_task": True},
    judged_by_part={"test": 2},
)
FILE = Path("config.json")


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, adapter=None, judged_by_part={})])
def test_json_gives_the_same_configuration(config: BundleConfig) -> None:
    stored = json.loads(json.dumps(config.to_json()))
    assert stored["format"] == FORMAT
    assert BundleConfig.from_json(stored, file=FILE) == config


def test_it_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        CONFIG.normalize = True  # type: ignore[misc]


def test_keys_of_later_versions_are_ignored() -> None:
    assert BundleConfig.from_json({**CONFIG.to_json(), "later": 1}, file=FILE) == CONFIG


def test_a_saved_bundle_opens_with_its_configuration(tmp_path: Path) -> None:
    bundle = made()
    bundle.save(tmp_path / "bundle")
    assert load(tmp_path / "bundle").config == bundle.config == stored_config(tmp_path / "bundle")


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "text=x", "bundle={}"],
        ["embed", "text=x", "output=v.npy", "bundle={}"],
        ["similarity", "text=x", "bundle={}"],
        ["evaluate", "bundle={}"],
        ["compare", "models=[{},minilm]"],
        ["export", "format=onnx", "output=out", "bundle={}"],
        ["search", "corpus=texts.txt", "text=x", "bundle={}"],
        ["search", "corpus=texts.txt", "text=x", "rerank={}"],
        ["train", "init_from={}"],
    ],
    ids=lambda words: f"{words[0]} {words[-1]}",
)
def test_another_format_is_one_message(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wins over the files and checksums that another format may not have."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("a film\n")
    made().save(tmp_path / "bundle")
    edit(tmp_path / "bundle" / "config.json", lambda stored: stored.update(format=7))
    (tmp_path / "bundle" / "labels.json").unlink()
    (tmp_path / "bundle" / "checksums.json").unlink()
    done = called(*(word.format("bundle") for word in words))
    assert (done.status, done.out) == (2, "")
    assert "bundle/config.json: format must be 1, got 7: another version" in done.message


def test_a_configuration_of_transformers_has_no_format(tmp_path: Path) -> None:
    made().save(tmp_path / "bundle")
    with pytest.raises(BundleError, match=r"no bundle, it has no file labels\.json"):
        load(tmp_path / "bundle" / "encoder")


def test_opening_a_bare_encoder_imports_no_evaluation(tmp_path: Path) -> None:
    script = (
        "import sys; from candelabra.cli import main; status = main(sys.argv[1:]); "
        "print(*sorted(name for name in sys.modules if name.startswith('candelabra.')"
        " or name in ('pytorch_lightning', 'torchmetrics', 'wandb', 'mteb')))"
    )
    words = ["embed", "encoder=tiny", "text=a film", f"output={tmp_path / 'v.npy'}"]
    done = python("-c", script, *words)
    assert done.status == 0, done.err
    modules = done.out.splitlines()[-1].split()
    assert "candelabra.build.untrained" in modules
    packages = {name.split(".")[1] for name in modules if name.startswith("candelabra.")}
    assert not packages & {"evaluation", "metrics", "training", "run", "weighting"}
    assert not {"pytorch_lightning", "torchmetrics", "wandb", "mteb"} & {*modules}
