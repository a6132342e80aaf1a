"""The head of masked words against the models of transformers that it comes from."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel

from candelabra.losses.classification import cross_entropy
from candelabra.metrics.masked_words import MaskedWordMetrics
from candelabra.model.encoder import Encoder
from candelabra.model.multitask import MultiTaskModel
from candelabra.pretraining.masked_words import MaskedWordsHead
from candelabra.records import IGNORED, Batch, Tokens

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 90}
KINDS = {
    "bert": SIZES,
    "mpnet": SIZES,
    "roberta": SIZES,
    "modernbert": {**SIZES, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "vocab_size": 90},
}
MASK_BL = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]])
FIRST_BW = torch.tensor([[1, 4, 5], [3, -1, -1]])
LABELS_BW = torch.tensor([[7, 8, 9], [10, IGNORED, IGNORED]])


def model_of(kind: str) -> PreTrainedModel:
    torch.manual_seed(3)
    config = AutoConfig.for_model(kind, **KINDS[kind])
    model: PreTrainedModel = AutoModelForMaskedLM.from_config(config).eval()
    return model


def ids() -> torch.Tensor:
    drawn = torch.randint(10, 90, (2, 7), generator=torch.Generator().manual_seed(1))
    return drawn.where(MASK_BL.bool(), 1)  # the padding of mpnet and roberta


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_loss_are_those_of_transformers(kind: str) -> None:
    peer, own, ids_BL = model_of(kind), model_of(kind), ids()
    labels_BL = torch.full_like(ids_BL, IGNORED)
    labels_BL[0, FIRST_BW[0]], labels_BL[1, 3] = LABELS_BW[0], LABELS_BW[1, 0]
    expected = peer(input_ids=ids_BL, attention_mask=MASK_BL, labels=labels_BL)
    expected.loss.backward()

    encoder = Encoder(own.base_model, bit_dropout=False)  # type: ignore[arg-type]
    head = MaskedWordsHead(32, own)
    model = MultiTaskModel(encoder, {"texts": head}).eval()
    batch = Batch(
        texts=(Tokens(ids_BL, MASK_BL),),
        labels=LABELS_BW,
        rows_B=torch.arange(2),
        num_units=4,
        num_examples=2,
        num_tokens=12,
        first_BW=FIRST_BW,
    )
    logits_BWV = model.forward_task("texts", batch)
    loss = head.loss(cross_entropy, logits_BWV, batch) / batch.num_units
    loss.backward()
    torch.testing.assert_close(logits_BWV[0], expected.logits[0, FIRST_BW[0]])
    torch.testing.assert_close(loss, expected.loss)

    metrics = MaskedWordMetrics()
    metrics.update(head.decode(logits_BWV.detach(), FIRST_BW), batch.labels)
    assert float(metrics.compute()["loss"]) == pytest.approx(loss.item(), rel=1e-5)
    right = (logits_BWV.argmax(-1) == LABELS_BW).sum() / 4
    assert float(metrics.compute()["accuracy"]) == pytest.approx(float(right))

    whole = head.whole(encoder)
    found = dict(whole.named_parameters())
    assert found.keys() == dict(peer.named_parameters()).keys()
    for name, parameter in peer.named_parameters():
        assert (found[name].grad is None) is (parameter.grad is None)
        if parameter.grad is not None:
            torch.testing.assert_close(found[name].grad, parameter.grad, atol=1e-6, rtol=1e-4)
