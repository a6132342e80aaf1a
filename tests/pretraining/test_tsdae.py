"""TSDAE: what is deleted, and the loss of sentence-transformers."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import XLNetConfig, XLNetModel

from candelabra.data.tokens import TextTokenizer
from candelabra.errors import ConfigError
from candelabra.losses.classification import cross_entropy
from candelabra.metrics.masked_words import MaskedWordMetrics
from candelabra.model.backbones import Pretrained, Tiny
from candelabra.model.multitask import MultiTaskModel
from candelabra.pretraining import Tsdae
from candelabra.pretraining.tsdae import DeletedSplit, tied_decoder
from candelabra.records import IGNORED, Batch
from helpers.stand_ins import write_model
from helpers.toys import toy_sentences, untagged

TEXTS = toy_sentences(100, 1).texts[0]


@pytest.fixture(scope="module")
def split(tokenizer: TextTokenizer) -> DeletedSplit:
    return Tsdae(0.6).split(untagged(TEXTS, tokenizer), tokenizer, seed=5)


def left(split: DeletedSplit, batch: Batch) -> list[list[int]]:
    (text,) = batch.texts
    return [ids[mask.bool()].tolist() for ids, mask in zip(text.ids_BL, text.mask_BL, strict=True)]


def is_part(short: list[int], long: list[int]) -> bool:
    """Whether the first list is the second without some of its items."""
    rest = iter(long)
    return all(item in rest for item in short)


def test_a_part_of_the_words_is_left_in_their_order(split: DeletedSplit) -> None:
    rows = range(len(split))
    batch = split.batch(rows, step=3)
    whole = [split.texts[0].text(row).tolist() for row in rows]
    for short, ids, labels in zip(left(split, batch), whole, batch.labels, strict=True):
        assert is_part(short, ids)
        assert (short[0], short[-1]) == (ids[0], ids[-1])
        assert len(short) >= 3
        assert labels[labels != IGNORED].tolist() == ids[1:]
    num_words = sum(map(len, whole)) - 2 * len(whole)
    num_left = sum(map(len, left(split, batch))) - 2 * len(whole)
    assert num_left / num_words == pytest.approx(0.4, abs=0.06)  # one word at least is left
    assert batch.num_units == int((batch.labels != IGNORED).sum())


def test_parts_of_a_step_are_those_of_the_whole(split: DeletedSplit) -> None:
    rows = np.array([4, 9, 17, 30])
    whole = dict(zip(rows.tolist(), left(split, split.batch(rows, step=2)), strict=True))
    for part in ([4, 17], [30, 9]):
        batch = split.batch(part, of=rows, step=2)
        assert batch.num_units == split.batch(rows, step=2).num_units
        assert left(split, batch) == [whole[row] for row in part]
    assert left(split, split.batch(rows, step=3)) != [*whole.values()]
    filler = split.batch([2], of=rows, counted=False, step=2)
    assert filler.labels.eq(IGNORED).all()


def test_an_empty_text_has_only_its_special_tokens(tokenizer: TextTokenizer) -> None:
    split = Tsdae(0.6).split(untagged(["", "film"], tokenizer), tokenizer, seed=0)
    batch = split.batch([0, 1], step=0)
    assert [len(ids) for ids in left(split, batch)] == [2, 3]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_loss_and_gradients_are_those_of_sentence_transformers(kind: str, tmp_path: Path) -> None:
    folder = str(write_model(tmp_path / kind, kind, 64))
    backbone = Pretrained(name=folder, max_length=32, local=True, attention="eager")
    tokenizer = backbone.tokenizer()
    split = Tsdae(0.6).split(untagged(TEXTS[:6], tokenizer), tokenizer, seed=1)
    batch = split.batch(range(6), step=0)

    torch.manual_seed(3)  # cross-attention begins with random weights
    encoder, head = Tsdae(0.6).load(backbone, tokenizer)
    model = MultiTaskModel(encoder, {"texts": head}).eval()
    logits = model.forward_task("texts", batch)
    loss = head.loss(cross_entropy, logits, batch) / batch.num_units
    loss.backward()

    transformer = Transformer(folder, model_kwargs={"attn_implementation": "eager"})
    pooling = Pooling(transformer.get_embedding_dimension(), "mean")
    student = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    torch.manual_seed(3)
    peer = DenoisingAutoEncoderLoss(student).eval()
    (text,) = batch.texts
    ids_BL = torch.cat([torch.full((6, 1), head.first_id), batch.labels], 1)
    given = {"input_ids": text.ids_BL, "attention_mask": text.mask_BL}
    target = {"input_ids": ids_BL.where(ids_BL != IGNORED, tokenizer.pad_id)}
    expected = peer([given, target], torch.zeros(6))
    expected.backward()
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    found = dict(head.decoder.named_parameters())
    for name, parameter in peer.decoder.named_parameters():
        torch.testing.assert_close(found[name].grad, parameter.grad, atol=1e-5, rtol=1e-4)

    metrics = MaskedWordMetrics()
    metrics.update(head.predictions(logits.detach(), batch).detach(), batch.labels)
    assert float(metrics.compute()["loss"]) == pytest.approx(loss.item(), rel=1e-5)


def test_the_decoder_has_the_parameters_of_the_encoder() -> None:
    backbone = Tiny()
    before = backbone.load().backbone.state_dict()
    encoder, head = Tsdae(0.6).load(backbone, backbone.tokenizer())
    assert {id(p) for p in encoder.parameters()} <= {id(p) for p in head.decoder.parameters()}
    for name, tensor in encoder.backbone.state_dict().items():
        assert tensor.equal(before[name])


@pytest.mark.parametrize("kind", ["mpnet", "modernbert"])
def test_a_kind_without_a_decoder_is_refused(kind: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / kind, kind, 64)
    backbone = Pretrained(name=str(folder), max_length=32, local=True)
    with pytest.raises(ConfigError, match=f"none of the kind {kind}: take method=masked_words"):
        Tsdae(0.6).load(backbone, backbone.tokenizer())


def test_a_decoder_that_does_not_read_the_embedding_is_refused() -> None:
    config = XLNetConfig(vocab_size=30522, d_model=16, n_layer=1, n_head=2, d_inner=16)
    tokenizer = Tiny().tokenizer()
    encoder = Mock(backbone=XLNetModel(config), width=16)
    with pytest.raises(ConfigError, match="none of the kind xlnet"):
        tied_decoder(encoder, tokenizer)


def test_a_tokenizer_without_a_first_token_is_refused() -> None:
    backbone = Tiny()
    tokenizer = backbone.tokenizer()
    tokenizer.tokenizer.cls_token = None
    with pytest.raises(ConfigError, match="no token that begins each text"):
        Tsdae(0.6).load(backbone, tokenizer)


@pytest.mark.parametrize("probability", [0.0, 1.0, -1.0])
def test_a_wrong_probability_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="deletion_probability must be above 0 and below 1"):
        Tsdae(probability)
