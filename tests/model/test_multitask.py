from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from candelabra.model.freeze.base import Scheme
from candelabra.model.freeze.constant import (
    FreezeEmbeddings,
    FreezeEncoder,
    FreezeHead,
    FreezeNothing,
)
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.layer_mix import LayerMix
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.pooling import AttentionPooling, FunctionPooling, cls, mean
from candelabra.records import Batch, Encoded
from helpers.toys import Splits, tiny, toy_model


@pytest.fixture
def batches(toys: Splits) -> dict[str, Batch]:
    rows = list(range(5))
    return {task: each["train"].batch(rows) for task, each in toys.items()}


def count_passes(model: MultiTaskModel) -> list[tuple[int, ...]]:
    """The shapes of the texts that the encoder sees from now on."""
    seen: list[tuple[int, ...]] = []
    model.encoder.backbone.register_forward_pre_hook(
        lambda _, args, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    return seen


def apply_heads(
    model: MultiTaskModel, batches: dict[str, Batch], encoded: dict[str, tuple[Encoded, ...]]
) -> dict[str, Tensor]:
    return {
        task: model.apply_head(task, encoded[task], batch.first_BW)
        for task, batch in batches.items()
    }


def test_in_training_all_tasks_share_a_pass_without_padding(
    model: MultiTaskModel, batches: dict[str, Batch]
) -> None:
    seen = count_passes(model)
    encoded = model.train().encode_tasks(batches)
    tokens = sum(int(batch.texts[0].mask_BL.sum()) for batch in batches.values())
    assert seen == [(1, tokens)]
    for task, batch in batches.items():
        (text,) = encoded[task]
        assert text.hidden_BLD.shape[:2] == batch.texts[0].ids_BL.shape


@pytest.mark.parametrize(("attention", "passes"), [("auto", 1), ("eager", 2)])
def test_a_shared_pass_gives_the_logits_and_gradients_of_passes_apart(
    batches: dict[str, Batch], attention: str, passes: int
) -> None:
    model, found = toy_model().train(), []
    model.encoder.attention = attention
    model.encoder.backbone.set_attn_implementation("eager")
    for together in (True, False):
        model.zero_grad()
        seen = count_passes(model)
        if together:
            logits = apply_heads(model, batches, model.encode_tasks(batches))
        else:
            logits = model(batches)
        assert len(seen) == (passes if together else 2)
        torch.stack([each.square().sum() for each in logits.values()]).sum().backward()
        found.append((logits, {name: p.grad for name, p in model.named_parameters()}))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)


def test_tasks_with_a_layer_mix_have_a_pass_of_their_own(batches: dict[str, Batch]) -> None:
    model = toy_model(mixes={"who": LayerMix(3)}).train()
    seen = count_passes(model)
    found = apply_heads(model, batches, model.encode_tasks(batches))
    assert len(seen) == 2
    expected = {task: model.forward_task(task, batch) for task, batch in batches.items()}
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_texts_of_a_pair_share_a_pass(batches: dict[str, Batch]) -> None:
    model = toy_model().train()
    (one,), (other,) = (batch.texts for batch in batches.values())
    seen = count_passes(model)
    encoded = model.encode(replace(batches["mood"], texts=(one, other)), ["mood"])
    assert len(seen) == 1
    for tokens, text in zip((one, other), encoded, strict=True):
        alone = model.encoder(tokens)
        torch.testing.assert_close(text.hidden_BLD, alone.hidden_BLD, atol=1e-5, rtol=1e-5)
        assert text.mask_BL is tokens.mask_BL


def test_one_pass_serves_all_heads(model: MultiTaskModel, batches: dict[str, Batch]) -> None:
    seen = count_passes(model.eval())
    batch = batches["who"]
    served = model.infer_all(batch.texts[0], batch.first_BW)
    assert len(seen) == 1
    assert list(served) == ["mood", "who"]


def test_serving_equals_training_passes(model: MultiTaskModel, batches: dict[str, Batch]) -> None:
    batch = batches["who"]
    with torch.no_grad():
        served = model.eval().infer_all(batch.texts[0], batch.first_BW)
        apart = model({"mood": batch, "who": batch})
    assert all(torch.equal(served[task], apart[task]) for task in served)


def test_a_step_may_hold_one_task(model: MultiTaskModel, batches: dict[str, Batch]) -> None:
    seen = count_passes(model)
    assert list(model({"mood": batches["mood"]})) == ["mood"]
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("scheme", "still", "moving"),
    [
        (FreezeEncoder(), ["encoder"], ["heads.mood", "heads.who", "pooling"]),
        (
            FreezeEmbeddings(),
            ["encoder.backbone.embeddings"],
            ["encoder.backbone.encoder", "heads"],
        ),
        (FreezeHead(head="mood"), ["heads.mood"], ["encoder", "heads.who"]),
    ],
    ids=["encoder", "embeddings", "head"],
)
def test_frozen_parts_stay_in_eval_mode(
    scheme: Scheme, still: list[str], moving: list[str]
) -> None:
    model = toy_model(freezer=Freezer(scheme), pooling=AttentionPooling(16))
    assert model.freezer is not None
    model.freezer.apply(model, 0)
    for _ in range(2):
        assert model.train() is model
        for names, training in ((still, False), (moving, True)):
            for name in names:
                part = model.get_submodule(name)
                assert all(module.training is training for module in part.modules()), name
                assert all(p.requires_grad is training for p in part.parameters()), name
        model.eval()
        assert not any(module.training for module in model.modules())


def test_a_frozen_encoder_has_no_dropout_and_no_gradient(batches: dict[str, Batch]) -> None:
    model = toy_model(tiny(dropout=0.5), freezer=Freezer(FreezeEncoder()))
    assert model.freezer is not None
    model.freezer.apply(model, 0)
    one, other = (model.train()(batches) for _ in range(2))
    assert torch.equal(one["mood"], other["mood"])
    sum(logits.sum() for logits in one.values()).backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.heads.parameters())


def test_a_task_may_pool_in_its_own_way(batches: dict[str, Batch]) -> None:
    batch = batches["mood"]
    by_name: dict[str, nn.Module] = {"mean": FunctionPooling(mean), "cls": FunctionPooling(cls)}
    found = {}
    for name, pooling in by_name.items():
        for override in (None, *by_name):
            poolings = {} if override is None else {"mood": by_name[override]}
            model = toy_model(pooling=pooling, poolings=poolings).eval()
            found[name, override] = model({"mood": batch})["mood"]
            encoded = model.encoder(batch.texts[0])
            sentence_BD = by_name[override or name](encoded.hidden_BLD, encoded.mask_BL)
            expected = model.heads["mood"].classifier(sentence_BD)  # type: ignore[union-attr,operator]
            torch.testing.assert_close(found[name, override], expected)
    assert torch.equal(found["mean", "cls"], found["cls", None])
    assert not torch.equal(found["mean", "cls"], found["mean", None])


def test_parts_are_stored_once(model: MultiTaskModel) -> None:
    prefixes = {name.partition(".")[0] for name in model.state_dict()}
    assert prefixes == {"encoder", "heads"}
    tensors = [tensor.data_ptr() for tensor in model.state_dict().values()]
    assert len(set(tensors)) == len(tensors)


def test_the_heads_are_named_by_task(model: MultiTaskModel) -> None:
    assert model.head("mood").labels == ["negative", "positive"]
    with pytest.raises(KeyError):
        model.head("weather")


def test_a_pooling_that_no_head_reads_does_not_learn() -> None:
    """Several processes would wait for its gradient."""
    model = toy_model(pooling=AttentionPooling(16), poolings={"mood": AttentionPooling(16)})
    Freezer(FreezeNothing()).apply(model, 0)
    assert not any(parameter.requires_grad for parameter in model.pooling.parameters())
    assert all(parameter.requires_grad for parameter in model.poolings.parameters())
    model = toy_model(pooling=AttentionPooling(16), poolings={"who": AttentionPooling(16)})
    Freezer(FreezeNothing()).apply(model, 0)
    assert all(parameter.requires_grad for parameter in model.pooling.parameters())
    assert not any(parameter.requires_grad for parameter in model.poolings.parameters())


def test_a_frozen_head_takes_what_only_it_reads_along() -> None:
    model = toy_model(
        tiny(),
        freezer=Freezer(FreezeHead(head="mood")),
        pooling=AttentionPooling(16),
        poolings={"mood": AttentionPooling(16)},
        mixes={"mood": LayerMix(3), "who": LayerMix(3)},
    )
    assert model.freezer is not None
    model.freezer.apply(model, 0)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    # The run's pooling has no reader left here: a head on words does not pool.
    owned = ("heads.mood.", "poolings.mood.", "mixes.mood.", "pooling.")
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith(owned)}
