from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.decomposition import TruncatedSVD
from torch import Tensor
from torch.nn import functional as F

from candelabra.data.rows.shapes import PAIR_WITH_SCORE, TEXT_WITH_LABEL
from candelabra.losses.embeddings import batch_hard, cosent, cosine, mega_batch_margin, ranking
from candelabra.model.heads.base import Loss
from candelabra.model.heads.classification import ClassificationHead
from candelabra.model.heads.embedding import EmbeddingHead, fit_width
from candelabra.model.heads.pair import PairHead
from candelabra.model.heads.tagging import TaggingHead
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.pooling import AttentionPooling, mean
from candelabra.records import Batch, Encoded, Examples, Tokens
from helpers.small_models import small_model
from helpers.toys import tiny

WIDTH = 16


def tokens(size: int, length: int, seed: int) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1000, 2000, (size, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[::2, length // 2 :] = 0
    return Tokens(ids, mask)


def batch_of(num_texts: int, size: int = 6) -> Batch:
    texts = tuple(tokens(size, 5 + 2 * k, seed=k) for k in range(num_texts))
    labels = torch.linspace(0, 1, size)
    return Batch(texts, labels, torch.arange(size), size, size, 99)


def model_of(head: EmbeddingHead, *, dropout: float = 0.0) -> MultiTaskModel:
    heads = {"alike": lambda _: head, "mood": partial(ClassificationHead, labels=["a", "b"])}
    return small_model(heads, tiny(dropout=dropout)).train()


def gradients(model: MultiTaskModel) -> list[Tensor]:
    return [p.grad.clone() for p in model.encoder.parameters() if p.grad is not None]


def test_logits_are_the_pooled_texts() -> None:
    model, batch = model_of(EmbeddingHead(WIDTH)), batch_of(3)
    logits_BKD = model.forward_task("alike", batch)
    assert logits_BKD.shape == (6, 3, WIDTH)
    for place, text in enumerate(batch.texts):
        torch.testing.assert_close(logits_BKD[:, place], model.embed(text, "alike"))
    assert not list(model.head("alike").parameters())


def test_parts_change_neither_loss_nor_gradient() -> None:
    batch, found = batch_of(2), []
    for size in (6, 4, 1):
        model = model_of(EmbeddingHead(WIDTH, mini_batch_size=size))
        loss = model.head("alike").loss(ranking, model.forward_task("alike", batch), batch)
        loss.backward()
        found.append([loss.detach(), *gradients(model)])
    for other in found[1:]:
        for tensor, right in zip(other, found[0], strict=True):
            torch.testing.assert_close(tensor, right, atol=1e-5, rtol=1e-4)


def test_a_second_pass_draws_the_dropout_of_the_first() -> None:
    model, batch = model_of(EmbeddingHead(WIDTH, mini_batch_size=2), dropout=0.5), batch_of(1)
    torch.manual_seed(3)
    model.forward_task("alike", batch).sum().backward()
    parts = gradients(model)
    model.zero_grad()
    torch.manual_seed(3)
    for begin in range(0, 6, 2):
        texts = tuple(
            Tokens(text.ids_BL[begin : begin + 2], text.mask_BL[begin : begin + 2])
            for text in batch.texts
        )
        model.apply_head(
            "alike", model.encode(replace(batch, texts=texts), ["alike"]), None
        ).sum().backward()
    for tensor, right in zip(parts, gradients(model), strict=True):
        torch.testing.assert_close(tensor, right)


def test_matryoshka_sums_the_losses_of_the_beginnings() -> None:
    batch = batch_of(2)
    logits = torch.randn(6, 2, WIDTH)
    head = EmbeddingHead(WIDTH, matryoshka_dims=[8, 4])
    found = head.loss(cosent, logits, batch)
    right = sum(cosent(logits[..., :dim], batch.labels) for dim in (WIDTH, 8, 4))
    torch.testing.assert_close(found, right)


def test_unit_length_is_an_option() -> None:
    logits, batch = torch.randn(6, 1, WIDTH), replace(batch_of(1), labels=torch.arange(6) % 2)
    for normalize, seen in ((True, F.normalize(logits, dim=-1)), (False, logits)):
        head = EmbeddingHead(WIDTH, ["a", "b"], normalize=normalize)
        torch.testing.assert_close(head.decode(logits), seen)
        torch.testing.assert_close(
            head.loss(batch_hard, logits, batch), batch_hard(seen, batch.labels)
        )


def test_examples_that_do_not_count_have_no_loss() -> None:
    batch = replace(batch_of(2), labels=torch.full((6,), float("nan")), counted=False)
    logits = torch.randn(6, 2, WIDTH, requires_grad=True)
    loss = EmbeddingHead(WIDTH).loss(cosine, logits, batch)
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_answers_are_cosines() -> None:
    logits = torch.randn(2, 3, WIDTH)
    examples = Examples((["a", "b"],) * 3, [0.5, 1.0], None, [0, 1])
    head = EmbeddingHead(WIDTH)
    cosines = torch.cosine_similarity(logits[:, :1], logits[:, 1:], dim=-1)
    for answer, row in zip(head.describe(logits, None, examples), cosines, strict=True):
        assert list(answer) == ["similarity", "to_negative"]
        assert list(answer.values()) == pytest.approx(row.tolist())
    assert head.describe(logits[:, :1], None, examples) == [None, None]
    assert head.describe_labels(examples) == [0.5, 1.0]
    assert EmbeddingHead(WIDTH, ["no", "yes"]).describe_labels(
        replace(examples, labels=[1, 0])
    ) == ["yes", "no"]


def test_a_text_alone_is_answered_by_the_other_heads() -> None:
    model = model_of(EmbeddingHead(WIDTH)).eval()
    assert set(model.infer_all(tokens(2, 5, 0), None)) == {"mood"}
    assert model.head("mood").reads(batch_of(1))
    assert not model.head("mood").reads(batch_of(2))


def test_a_loss_must_fit() -> None:
    head = EmbeddingHead(WIDTH)
    head.check(cosine, PAIR_WITH_SCORE)
    with pytest.raises(
        ValueError, match=r"learns from anchor, positive or .* columns are sentence1"
    ):
        head.check(ranking, PAIR_WITH_SCORE)
    assert head.takes_of(PAIR_WITH_SCORE) == ("cosine", "cosent", "angle")
    assert "batch_hard" in head.takes_of(TEXT_WITH_LABEL)
    assert head.num_choices == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"matryoshka_dims": [17]}, "matryoshka_dims must be from 1 to 16, found 17"),
        ({"mini_batch_size": 0}, "mini_batch_size must be at least 1, found 0"),
    ],
)
def test_wrong_settings(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EmbeddingHead(WIDTH, **settings)


def test_a_pair_head_reads_both_and_their_difference() -> None:
    head = PairHead(WIDTH, ["no", "maybe", "yes"]).eval()
    hidden = [torch.randn(4, 5, WIDTH) for _ in range(2)]
    mask = torch.ones(4, 5)
    logits = head(tuple(Encoded(each, mask) for each in hidden), mean)
    u, v = (each.mean(1) for each in hidden)
    linear = head.classifier[1]
    right = torch.cat([u, v, (u - v).abs()], 1) @ linear.weight.T + linear.bias
    torch.testing.assert_close(logits, right)


@pytest.mark.parametrize("loss", [ranking, mega_batch_margin, cosent])
def test_autocast_does_not_round_the_embeddings(loss: Loss) -> None:
    head, batch, logits = EmbeddingHead(WIDTH), batch_of(2), torch.randn(6, 2, WIDTH)
    whole, half = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    head.loss(loss, whole, batch).backward()
    with torch.autocast("cpu", torch.bfloat16):
        found = head.loss(loss, half, batch)
    found.backward()
    torch.testing.assert_close(half.grad, whole.grad)


def test_a_pooling_that_only_judges_read_is_idle() -> None:
    pooling = AttentionPooling(WIDTH)
    heads = {"near": EmbeddingHead, "who": partial(TaggingHead, labels=["O", "B-X", "I-X"])}
    model = small_model(heads, tiny(), pooling=pooling)
    assert model.idle == []
    model.eval_only = frozenset({"near"})
    assert model.idle == [pooling]


def test_a_wider_teacher_is_projected_as_by_a_truncated_decomposition() -> None:
    vectors_ND = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    found = fit_width(vectors_ND, 3)
    reference = TruncatedSVD(3, algorithm="arpack").fit_transform(vectors_ND.numpy())
    np.testing.assert_allclose(found @ found.T, reference @ reference.T, atol=1e-4)
    sizes = found.square().sum(dim=0).tolist()
    assert sizes == sorted(sizes, reverse=True), "`truncate_dim` keeps the first axes"


def test_a_narrower_teacher_keeps_all_inner_products() -> None:
    vectors_ND = torch.randn(5, 3)
    found = fit_width(vectors_ND, 8)
    assert found.shape == (5, 8)
    torch.testing.assert_close(found @ found.T, vectors_ND @ vectors_ND.T)


@pytest.mark.parametrize("width", [3, 6, 8])
def test_answers_of_a_teacher_have_the_width_and_length_of_the_head(width: int) -> None:
    answers_NKD = torch.randn(20, 2, 6).half()
    found = EmbeddingHead(width).fit_answers(answers_NKD)
    assert (found.shape, found.dtype) == ((20, 2, width), torch.float16)
    torch.testing.assert_close(found.float().norm(dim=-1), torch.ones(20, 2), atol=1e-3, rtol=0)
