from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from torch import nn

from candelabra.data.collate import pad_tokens
from candelabra.data.tokens import TextTokenizer
from candelabra.model.backbones import Pretrained
from candelabra.model.encoder import Encoder, first_pieces
from candelabra.model.encoder_files import package_folder
from candelabra.model.pooling import mean
from candelabra.records import Encoded, Tokens
from helpers.small_models import KINDS, random_tokens, save_encoder, small_encoder
from helpers.stand_ins import write_model
from helpers.toys import BUNDLED, MINILM_WEIGHTS

FOLDER = package_folder(BUNDLED.removeprefix("package:"))
TEXTS = [
    "a film that I would see again",
    "which 1995 romantic comedy starred michael douglas?",
    "Amélie - übermäßig schön!",
    "no " * 400,
]
every = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def minilm() -> tuple[TextTokenizer, Encoder]:
    backbone = Pretrained(name=BUNDLED, max_length=256, sha256=MINILM_WEIGHTS)
    return backbone.tokenizer(), backbone.load().eval()


def test_a_pooler_that_the_checkpoint_lacks_is_none(tmp_path: Path) -> None:
    for kind in ("bert", "mpnet", "roberta"):
        folder = write_model(tmp_path / kind, kind, positions=40)
        backbone = Pretrained(name=str(folder), max_length=16)
        assert backbone.load().pooler is not None
        file = folder / "model.safetensors"
        weights = {key: w for key, w in load_file(file).items() if not key.startswith("pooler.")}
        save_file(weights, file, metadata={"format": "pt"})
        assert backbone.load().pooler is None


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
    encoder = small_encoder(kind)
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
    encoder = small_encoder(kind)
    has_one = kind in ("bert", "mpnet", "roberta")
    assert not [name for name, _ in encoder.named_parameters() if "pooler" in name]
    assert not [name for name in encoder.state_dict() if "pooler" in name]
    assert (encoder.pooler is not None) == has_one
    if encoder.pooler is not None:
        assert encoder.pooler["weight"].shape == (16, 16)


@every
def test_every_parameter_gets_a_gradient(kind: str) -> None:
    """An unused one makes DistributedDataParallel raise."""
    encoder = small_encoder(kind).train()
    encoder(random_tokens(8)).hidden_BLD.sum().backward()
    assert not [name for name, p in encoder.named_parameters() if p.grad is None]


@every
def test_attention_follows_the_mode_and_changes_nothing(kind: str) -> None:
    encoder, tokens = small_encoder(kind), random_tokens(8)
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    encoder.backbone.config.attention_probs_dropout_prob = 0.0
    found = []
    for training in (True, False, True):
        found.append(encoder.train(training)(tokens).hidden_BLD)
        expected = "eager" if kind == "mpnet" else "blocks" if training else "sdpa"
        assert encoder.backbone.config._attn_implementation == expected
    real = tokens.mask_BL.bool()
    for hidden_BLD in found[1:]:
        torch.testing.assert_close(hidden_BLD[real], found[0][real], atol=1e-5, rtol=1e-5)


def test_a_chosen_attention_stays() -> None:
    bundled = Pretrained(name=BUNDLED, max_length=32, attention="eager").load()
    bundled.eval()(random_tokens(8))
    assert bundled.backbone.config._attn_implementation == "eager"


@every
def test_padding_has_no_influence(kind: str) -> None:
    encoder, tokens = small_encoder(kind).eval(), random_tokens(8)
    alone = encoder(Tokens(tokens.ids_BL[1:2, :3], tokens.mask_BL[1:2, :3])).hidden_BLD
    torch.testing.assert_close(encoder(tokens).hidden_BLD[1:2, :3], alone, atol=1e-5, rtol=1e-5)


def test_first_pieces_are_gathered() -> None:
    hidden_BLD = torch.arange(2 * 4 * 3).reshape(2, 4, 3).float()
    encoded = Encoded(hidden_BLD, torch.ones(2, 4))
    found_BWD = first_pieces(encoded, torch.tensor([[1, 3, -1], [2, -1, -1]]))
    assert torch.equal(found_BWD[0, :2], hidden_BLD[0, [1, 3]])
    assert torch.equal(found_BWD[1, 0], hidden_BLD[1, 2])
    assert torch.equal(found_BWD[1, 2], hidden_BLD[1, 0])


def test_unknown_layers_are_an_error() -> None:
    encoder = small_encoder("bert")
    del encoder.backbone.encoder.layer
    with pytest.raises(ValueError, match="BertModel keeps its layers in none of"):
        _ = encoder.layers


def test_the_stem_holds_what_the_layers_share(tmp_path: Path) -> None:
    encoder = Pretrained(name=str(save_encoder(tmp_path, "mpnet")), max_length=20).load()
    held = {id(p) for module in [*encoder.stem, *encoder.layers] for p in module.parameters()}
    assert {name for name, p in encoder.named_parameters() if id(p) not in held} == set()
