"""Attention by blocks against transformers' own eager attention."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModel

from candelabra.build.model import load_encoder
from candelabra.errors import ConfigError
from candelabra.model import attention
from candelabra.model.attention import MODEL_TYPES, blocks_attention, blocks_of, supports_blocks
from candelabra.model.backbones import Pretrained
from candelabra.model.encoder import Encoder
from candelabra.records import Tokens
from helpers.attentions import LENGTH, encoder_of, loss_and_gradients, masks, tokens_of
from helpers.small_models import save_encoder, small_config

every = pytest.mark.parametrize("kind", MODEL_TYPES)


def assert_like_eager(kind: str, tokens: Tokens, *, tolerance: float = 1e-4) -> None:
    ours, eager = encoder_of(kind, "blocks"), encoder_of(kind, "eager")
    loss, gradients = loss_and_gradients(ours, tokens)
    expected_loss, expected = loss_and_gradients(eager, tokens)
    assert ours.attention_of("cpu", training=True) == "blocks"
    assert eager.attention_of("cpu", training=True) == "eager"
    torch.testing.assert_close(loss, expected_loss, rtol=tolerance, atol=tolerance)
    assert gradients.keys() == expected.keys()
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in gradients.items():
        difference = float((gradient - expected[name]).abs().max())
        assert difference <= tolerance * scale, name


CASES = [
    (kind, padding)
    for kind in MODEL_TYPES
    for padding in masks()
    if padding != "holes"
    or kind not in ("modernbert", "mpnet")  # they count tokens between; tokenizers pad at ends
]


@pytest.mark.parametrize(("kind", "padding"), CASES)
def test_losses_and_gradients_are_those_of_eager_attention(kind: str, padding: str) -> None:
    assert_like_eager(kind, tokens_of(masks()[padding]))


@every
def test_pairs_in_one_sequence(kind: str) -> None:
    assert_like_eager(kind, tokens_of(masks()["right"], pairs=True))


@every
def test_the_size_of_the_blocks_changes_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for scores in (1, 2 * LENGTH**2):
        monkeypatch.setattr(attention, "BLOCK_SCORES", scores)
        assert_like_eager(kind, tokens_of(masks()["right"]))
        assert_like_eager(kind, tokens_of(masks()["left"]))


@every
def test_half_precision_is_as_exact_as_eager_attention(kind: str) -> None:
    tokens, errors = tokens_of(masks()["right"]), {}
    encoders = {name: encoder_of(kind, name, spread=0.1) for name in ("eager", "blocks")}
    _, exact = loss_and_gradients(encoders["eager"], tokens)
    for name, encoder in encoders.items():
        _, found = loss_and_gradients(encoder, tokens, dtype=torch.bfloat16)
        flat = torch.cat([(found[key] - exact[key]).flatten() for key in exact])
        errors[name] = float(flat.norm())
    assert errors["blocks"] <= 1.5 * errors["eager"]


@every
def test_it_is_chosen_for_training_on_a_cpu_alone(kind: str) -> None:
    encoder, tokens = encoder_of(kind, "auto"), tokens_of(masks()["right"])
    real = tokens.mask_BL.bool()
    found = []
    # MPNet has no other attention, and needs no name of another in its configuration.
    in_evaluation = "blocks" if kind == "mpnet" else "sdpa"
    for training, name in ((True, "blocks"), (False, in_evaluation), (True, "blocks")):
        found.append(encoder.train(training)(tokens).hidden_BLD[real])
        in_use = encoder.backbone.config._attn_implementation
        assert in_use == ("eager" if kind == "mpnet" else name)
        assert encoder.attention_of("cpu", training=training) == name
    assert encoder.attention_of("cuda", training=True) == ("eager" if kind == "mpnet" else "sdpa")
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-4, rtol=1e-4)


def test_mpnet_is_packed_in_evaluation_too() -> None:
    ours, eager = encoder_of("mpnet", "auto").eval(), encoder_of("mpnet", "eager").eval()
    for padding in ("full", "right", "left"):
        tokens = tokens_of(masks()[padding])
        real = tokens.mask_BL.bool()
        with torch.inference_mode():
            found, expected = (encoder(tokens, every_layer=True) for encoder in (ours, eager))
        for one, other in zip(found.layers, expected.layers, strict=True):
            torch.testing.assert_close(one[real], other[real], atol=1e-4, rtol=1e-4)
            assert one[~real].eq(0).all()


@every
def test_no_gradient_is_left_to_padding(kind: str) -> None:
    """The ids of padding have no influence on any gradient but their own, which is zero."""
    mask_BL = masks()["right"]
    one, other = tokens_of(mask_BL), tokens_of(mask_BL)
    other.ids_BL[mask_BL == 0] = 2
    encoder = encoder_of(kind, "blocks")
    loss, gradients = loss_and_gradients(encoder, one)
    again, same = loss_and_gradients(encoder, other)
    torch.testing.assert_close(loss, again)
    for name in gradients:
        torch.testing.assert_close(gradients[name], same[name], atol=1e-4, rtol=1e-4)


@every
def test_the_attention_drops_in_training_alone(kind: str) -> None:
    """Other dropout is off, so that only the attention's own makes two passes differ."""
    encoder, tokens = encoder_of(kind, "blocks", dropped=0.5), tokens_of(masks()["right"])
    first, other = encoder(tokens).hidden_BLD, encoder(tokens).hidden_BLD
    assert not torch.allclose(first, other)
    encoder.eval()
    assert torch.equal(encoder(tokens).hidden_BLD, encoder(tokens).hidden_BLD)


def test_architectures_of_another_attention_are_left_alone() -> None:
    others = [small_config(kind) for kind in ("deberta-v2", "bert")]
    others[-1].is_decoder = True
    for config in others:
        backbone = AutoModel.from_config(config)
        assert not supports_blocks(backbone)
        assert Encoder(backbone).attention_of("cpu", training=True) == "eager"
        with pytest.raises(ValueError, match="attention must not be blocks for"):
            Encoder(backbone, attention="blocks")


def test_a_setting_that_does_not_fit_names_its_key(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path, "deberta-v2")
    chosen = Pretrained(name=str(folder), max_length=16, attention="blocks")
    with pytest.raises(
        ConfigError, match=r"encoder\.attention must not be blocks for DebertaV2Model"
    ):
        load_encoder(chosen, {"attention": "blocks"})
    folder = save_encoder(tmp_path / "roberta", "roberta")
    chosen = Pretrained(name=str(folder), max_length=16, attention="blocks")
    assert chosen.load().attention_of("cpu", training=True) == "blocks"


def random_heads(*shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator) for _ in range(3)]


def test_every_token_is_in_one_block() -> None:
    for lengths in ([], [3], [1, 2, 7, 7], [300, 300, 2], [5, 5, 5]):
        found = [place for b in blocks_of(lengths) for place in range(sum(lengths))[b.tokens]]
        assert found == list(range(sum(lengths)))
        assert sum(block.num_texts for block in blocks_of(lengths)) == len(lengths)


def test_long_texts_are_computed_one_by_one() -> None:
    found = [(block.num_texts, block.length) for block in blocks_of([40, 50, 300, 500])]
    assert found == [(2, 50), (1, 300), (1, 500)]


def attend(dropout: float, seed: int) -> Tensor:
    """Equal scores, so that the output is the mean of the kept values."""
    torch.manual_seed(seed)
    zeros = torch.zeros(1, 4, 8 * 64, 16)
    ones = torch.ones_like(zeros)
    output, _ = blocks_attention(
        torch.nn.Identity(), zeros, zeros, ones, None, text_lengths=[64] * 8, dropout=dropout
    )
    return output


def test_dropout_keeps_the_mean_and_its_rate() -> None:
    output = attend(0.25, seed=0)
    # 8 * 4 * 64 queries of 64 keys; a query's output is its number of kept keys / (64 * .75).
    kept = output[..., 0] * 64 * 0.75
    torch.testing.assert_close(kept, kept.round(), atol=1e-3, rtol=0)
    num = kept.numel() * 64
    deviation = (0.25 * 0.75 / num) ** 0.5
    assert abs(float(kept.sum()) / num - 0.75) < 5 * deviation
    expected_variance = 64 * 0.25 * 0.75
    assert float(kept.var()) == pytest.approx(expected_variance, rel=0.15)


def test_the_seed_alone_decides_what_is_dropped() -> None:
    assert torch.equal(attend(0.1, seed=5), attend(0.1, seed=5))
    assert not torch.equal(attend(0.1, seed=5), attend(0.1, seed=6))


def test_gradients_under_dropout_are_those_of_the_same_mask() -> None:
    """Numerical differentiation, with the same seed for every evaluation."""
    inputs = [tensor.double().requires_grad_() for tensor in random_heads(1, 2, 8, 3)]
    inputs.append(torch.randn(2, 6, 6).double().requires_grad_())

    def fixed(query: Tensor, key: Tensor, value: Tensor, bias_HLL: Tensor) -> Tensor:
        torch.manual_seed(1)
        output, _ = blocks_attention(
            torch.nn.Identity(),
            query,
            key,
            value,
            None,
            text_lengths=[3, 5],
            dropout=0.3,
            sliding_window=3,
            bias_HLL=bias_HLL,
        )
        return output

    assert torch.autograd.gradcheck(fixed, inputs)
