"""A bundle is data: whatever stands in it, opening it executes nothing."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from candelabra.bundle.bundle import load
from candelabra.bundle.checksums import write_checksums
from candelabra.errors import BundleError
from helpers.bundles import edit, made
from helpers.command_line import called

CANARY = "canary"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    made("attention").save(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle to spoil; what it manages to execute would write a canary beside it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved, tmp_path / "bundle")
    return tmp_path / "bundle"


class Exploit:
    """Unpickling it writes the canary."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {CANARY}",)


def target_of_a_head(folder: Path) -> None:
    node = {"_target_": "os.system", "command": f"touch {CANARY}"}
    edit(folder / "config.json", lambda c: c["tasks"]["mood"].update(head=node))


def target_of_a_pooling(folder: Path) -> None:
    node = {"_target_": "helpers.foreign_heads.write_canary", "_partial_": True}
    edit(folder / "config.json", lambda c: c.update(pooling=node))


def target_of_a_source(folder: Path) -> None:
    node = {"_target_": "pandas.read_pickle", "filepath_or_buffer": "x"}
    edit(folder / "config.json", lambda c: c["tasks"]["mood"].update(source=node))


def target_deep_in_a_list(folder: Path) -> None:
    node = [{"a": [{"_target_": "helpers.foreign_heads.write_canary"}]}]
    edit(folder / "config.json", lambda c: c["tasks"]["mood"].update(metrics=node))


def target_that_is_no_text(folder: Path) -> None:
    edit(folder / "config.json", lambda c: c["pooling"].update(_target_=["os.system"]))


def target_of_a_private_name(folder: Path) -> None:
    target = "candelabra.model.pooling.functools.partial"
    edit(folder / "config.json", lambda c: c["pooling"].update(_target_=target))


def trusted_target_in_the_wrong_place(folder: Path) -> None:
    node = {"_target_": "pytorch_lightning.Trainer", "default_root_dir": CANARY}
    edit(folder / "config.json", lambda c: c["tasks"]["mood"].update(head=node))


def environment(folder: Path) -> None:
    edit(folder / "config.json", lambda c: c["tasks"]["mood"].update(main_metric="${oc.env:HOME}"))


def environment_in_a_key(folder: Path) -> None:
    edit(folder / "config.json", lambda c: c["tasks"]["mood"].update({"${oc.env:HOME}": 1}))


def name_out_of_the_folder(folder: Path) -> None:
    def rename(found: dict[str, Any]) -> None:
        found["../mood"] = found.pop("mood")

    edit(folder / "config.json", lambda c: rename(c["tasks"]))
    edit(folder / "labels.json", rename)


def absolute_name(folder: Path) -> None:
    def rename(found: dict[str, Any]) -> None:
        found["/etc/mood"] = found.pop("mood")

    edit(folder / "config.json", lambda c: rename(c["tasks"]))
    edit(folder / "labels.json", rename)


def pickle_beside(folder: Path) -> None:
    (folder / "encoder" / "pytorch_model.bin").write_bytes(pickle.dumps(Exploit()))


def pickle_instead(folder: Path) -> None:
    pickle_beside(folder)
    (folder / "encoder" / "model.safetensors").unlink()


def pickle_named_safetensors(folder: Path) -> None:
    (folder / "heads.safetensors").write_bytes(pickle.dumps(Exploit()))


def pickled_encoder_named_safetensors(folder: Path) -> None:
    (folder / "encoder" / "model.safetensors").write_bytes(pickle.dumps(Exploit()))


def link_out(folder: Path) -> None:
    outside = folder.parent / "outside.json"
    shutil.move(folder / "labels.json", outside)
    (folder / "labels.json").symlink_to(outside)


def folder_link_out(folder: Path) -> None:
    shutil.move(folder / "encoder", folder.parent / "outside")
    (folder / "encoder").symlink_to("../outside")


def remote_code(folder: Path) -> None:
    auto_map = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    edit(folder / "encoder" / "config.json", lambda c: c.update(auto_map=auto_map))


def remote_code_of_an_unknown_architecture(folder: Path) -> None:
    remote_code(folder)
    edit(folder / "encoder" / "config.json", lambda c: c.update(model_type="evil"))


def remote_code_of_the_tokenizer(folder: Path) -> None:
    auto_map = {"AutoTokenizer": [None, "evil.Tokenizer"]}
    edit(folder / "encoder" / "tokenizer_config.json", lambda c: c.update(auto_map=auto_map))


def attention_kernel_from_the_hub(folder: Path) -> None:
    kernel = "someone/kernel"
    edit(folder / "encoder" / "config.json", lambda c: c.update(attn_implementation=kernel))


def encoder_json(name: str, **node: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = folder / "encoder" / name
        file.parent.mkdir(exist_ok=True)
        if not file.exists():
            file.write_text("{}")
        edit(file, lambda found: found.update(node))

    spoil.__name__ = f"{name}_{'_'.join(node)}"
    return spoil


def pooling_of(target: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        node = {"_target_": target, "_partial_": True}
        edit(folder / "config.json", lambda c: c["tasks"]["mood"].update(pooling=node))

    spoil.__name__ = f"pooling_{target.rpartition('.')[2]}"
    return spoil


def encoder_for_the_runs_pooling(folder: Path) -> None:
    node = {"_target_": "candelabra.model.backbones.Tiny", "_partial_": True}
    edit(folder / "config.json", lambda c: c.update(pooling=node))


def pooling_for_a_head(folder: Path) -> None:
    node = {"_target_": "candelabra.model.pooling.AttentionPooling", "_partial_": True}
    edit(folder / "config.json", lambda c: c["tasks"]["mood"].update(head=node))


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "encoder" / "vocab.txt")


def pipe_for_json(folder: Path) -> None:
    os.mkfifo(folder / "encoder" / "extra.json")


def pipe_for_metrics(folder: Path) -> None:
    (folder / "metrics.json").unlink()
    os.mkfifo(folder / "metrics.json")


def link_loop(folder: Path) -> None:
    (folder / "encoder" / "one").symlink_to("two")
    (folder / "encoder" / "two").symlink_to("one")


def link_to_nothing(folder: Path) -> None:
    (folder / "encoder" / "vocab.txt").symlink_to("gone.txt")


def adapter_of_another_model(folder: Path) -> None:
    node = {"base_model_name_or_path": "someone/model", "peft_type": "LORA"}
    (folder / "encoder" / "adapter_config.json").write_text(json.dumps(node))


def modules_that_lead_to_another_encoder(folder: Path) -> None:
    (folder / "encoder" / "modules.json").write_text('[{"path": "below", "type": "Transformer"}]')


def python_file(folder: Path) -> None:
    (folder / "encoder" / "modeling.py").write_text(f"open('{CANARY}', 'w')")


def yaml_tag(folder: Path) -> None:
    tag = f'!!python/object/apply:os.system ["touch {CANARY}"]'
    (folder / "config.json").write_text(f"format: 1\npooling: {tag}\n")


HOSTILE: dict[Callable[[Path], None], str] = {
    target_of_a_head: r"_target_ 'os\.system' is not one of candelabra's",
    target_of_a_pooling: r"_target_ 'helpers\.foreign_heads\.write_canary' is not one of",
    target_of_a_source: r"_target_ 'pandas\.read_pickle' is not one of candelabra's",
    target_deep_in_a_list: r"_target_ 'helpers\.foreign_heads\.write_canary' is not one",
    target_that_is_no_text: r"_target_ must be a dotted name, found \['os\.system'\]",
    target_of_a_private_name: r"functools\.partial' is not one of candelabra's",
    trusted_target_in_the_wrong_place: r"does not belong at tasks\.mood\.head: it is not one",
    encoder_for_the_runs_pooling: r"Tiny' does not belong at pooling",
    pooling_for_a_head: r"AttentionPooling' does not belong at tasks\.mood\.head",
    pooling_of("candelabra.model.backbones.Tiny"): r"does not belong at tasks\.mood\.pooling",
    pooling_of("candelabra.model.heads.MlpHead"): r"does not belong at tasks\.mood\.pooling",
    pooling_of("candelabra.losses.focal"): r"does not belong at tasks\.mood\.pooling",
    encoder_json("config.json", configuration_files=["config.1.0.0.json"]): r"asks for other files",
    encoder_json("tokenizer_config.json", fast_tokenizer_files=["tokenizer.1.json"]): (
        r"tokenizer_config\.json: 'fast_tokenizer_files' asks for other files"
    ),
    encoder_json("config.1.0.0.json", auto_map={"AutoModel": "evil.Model"}): r"'auto_map' asks",
    encoder_json("below/any.json", a=[{"auto_map": {"AutoModel": "evil.Model"}}]): r"'auto_map'",
    encoder_json("config.json", quantization_config={"quant_method": "x"}): (
        r"'quantization_config' asks for code"
    ),
    encoder_json("config.json", text_config={"quantization_config": {}}): (
        r"'quantization_config' asks for code"
    ),
    modules_that_lead_to_another_encoder: r"modules\.json: leads to another encoder",
    pipe: r"vocab\.txt: neither a file nor a folder",
    pipe_for_json: r"extra\.json: neither a file nor a folder",
    pipe_for_metrics: r"metrics\.json: neither a file nor a folder",
    link_loop: r"(one|two): (a link that leads nowhere|neither a file nor a folder)",
    link_to_nothing: r"vocab\.txt: neither a file nor a folder",
    environment: r"holds plain values, found '\$\{oc\.env:HOME\}'",
    environment_in_a_key: r"holds plain values, found '\$\{oc\.env:HOME\}'",
    name_out_of_the_folder: r"a task's name must match .*, found '\.\./mood'",
    absolute_name: r"a task's name must match .*, found '/etc/mood'",
    pickle_beside: r"pytorch_model\.bin: a bundle holds .* no code or pickle",
    pickle_instead: r"model\.safetensors",
    pickle_named_safetensors: r"heads\.safetensors: damaged",
    pickled_encoder_named_safetensors: r"cannot be loaded as safetensors",
    link_out: r"labels\.json: a link out of the bundle",
    folder_link_out: r"encoder: a link out of the bundle",
    remote_code: r"config\.json: 'auto_map' asks for code from elsewhere",
    remote_code_of_an_unknown_architecture: r"'auto_map' asks for code from elsewhere",
    remote_code_of_the_tokenizer: r"tokenizer_config\.json: 'auto_map' asks for code",
    attention_kernel_from_the_hub: r"'attn_implementation' asks for code from elsewhere",
    adapter_of_another_model: r"adapter_config\.json: leads to another encoder",
    python_file: r"modeling\.py: a bundle holds .* no code",
    yaml_tag: r"config\.json: not JSON",
}


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda spoil: spoil.__name__)
def test_hostile_bundle_is_refused(spoil: Callable[[Path], None], copy: Path) -> None:
    (copy.parent / "evil.py").write_text(f"open('{CANARY}', 'w')")
    spoil(copy)
    write_checksums(copy)
    with pytest.raises(BundleError, match=HOSTILE[spoil]):
        load(copy)
    assert not list(copy.parent.rglob(f"*{CANARY}*"))


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_command_refuses_it_in_one_message(command: str, copy: Path) -> None:
    target_of_a_head(copy)
    arguments = ["text=x"] if command == "predict" else []
    done = called(command, f"bundle={copy}", *arguments)
    assert (done.status, done.out) == (2, "")
    assert "_target_ 'os.system' is not one of candelabra's" in done.message
    assert not list(copy.parent.rglob(f"*{CANARY}*"))


def test_hostile_files_beside_the_bundle_are_left_alone(copy: Path) -> None:
    """A run folder's own yaml and checkpoints are never read to open its bundle."""
    tag = f'!!python/object/apply:os.system ["touch {CANARY}"]'
    (copy.parent / "config.yaml").write_text(f"seed: {tag}\n")
    (copy.parent / "last.ckpt").write_bytes(pickle.dumps(Exploit()))
    assert load(copy.parent).labels
    assert not list(copy.parent.rglob(CANARY))
