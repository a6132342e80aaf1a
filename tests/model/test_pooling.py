from __future__ import annotations

from functools import partial

import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn

from candelabra.model import pooling
from candelabra.model.pooling import AttentionPooling, ClsPooler, FunctionPooling
from helpers.small_models import POOLINGS, pooling_module

WIDTH = 6
OF_SENTENCE_TRANSFORMERS = {
    "mean": "mean",
    "max": "max",
    "cls": "cls",
    "mean_sqrt_len": "mean_sqrt_len_tokens",
    "weighted_mean": "weightedmean",
    "last_token": "lasttoken",
}
"""Option -> its name in sentence-transformers."""


def _poolings() -> dict[str, nn.Module]:
    """Every option; `modules` is a sequence of others, and has its own tests."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = {name: pooling_module(name, WIDTH) for name in POOLINGS if name != "modules"}
        for pooling in made.values():
            for parameter in pooling.parameters():
                nn.init.normal_(parameter, std=0.5)
    return {name: pooling.eval() for name, pooling in made.items()}


ALL = _poolings()
every = pytest.mark.parametrize("name", ALL)


@pytest.fixture(params=["right", "left", "none"])
def mask_BL(request: pytest.FixtureRequest) -> Tensor:
    lengths = [5, 1, 3, 4] if request.param != "none" else [5, 5, 5, 5]
    mask_BL = (torch.arange(5) < torch.tensor(lengths).unsqueeze(1)).long()
    return mask_BL.flip(1) if request.param == "left" else mask_BL


@pytest.fixture
def hidden_BLD() -> Tensor:
    return torch.randn(4, 5, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", OF_SENTENCE_TRANSFORMERS)
def test_equals_sentence_transformers(name: str, hidden_BLD: Tensor, mask_BL: Tensor) -> None:
    features = {"token_embeddings": hidden_BLD, "attention_mask": mask_BL}
    theirs = Pooling(WIDTH, pooling_mode=OF_SENTENCE_TRANSFORMERS[name])
    expected_BD = theirs(features)["sentence_embedding"]
    torch.testing.assert_close(ALL[name](hidden_BLD, mask_BL), expected_BD)


@every
@pytest.mark.parametrize("junk", [1e4, float("nan"), float("inf"), float("-inf")])
def test_padding_has_no_influence(
    name: str, junk: float, hidden_BLD: Tensor, mask_BL: Tensor
) -> None:
    dirty_BLD = hidden_BLD.masked_fill(mask_BL.unsqueeze(-1) == 0, junk)
    torch.testing.assert_close(ALL[name](dirty_BLD, mask_BL), ALL[name](hidden_BLD, mask_BL))


@every
def test_more_padding_changes_nothing(name: str, hidden_BLD: Tensor, mask_BL: Tensor) -> None:
    more_BLD = torch.cat([torch.ones(4, 2, WIDTH), hidden_BLD, torch.ones(4, 3, WIDTH)], 1)
    more_BL = torch.cat([torch.zeros(4, 2), mask_BL, torch.zeros(4, 3)], 1)
    torch.testing.assert_close(ALL[name](more_BLD, more_BL), ALL[name](hidden_BLD, mask_BL))


@every
def test_permuting_the_batch_permutes_the_output(
    name: str, hidden_BLD: Tensor, mask_BL: Tensor
) -> None:
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        ALL[name](hidden_BLD[order], mask_BL[order]), ALL[name](hidden_BLD, mask_BL)[order]
    )


@every
def test_inputs_are_unchanged(name: str, hidden_BLD: Tensor, mask_BL: Tensor) -> None:
    before_BLD, before_BL = hidden_BLD.clone(), mask_BL.clone()
    ALL[name](hidden_BLD, mask_BL)
    assert torch.equal(hidden_BLD, before_BLD)
    assert torch.equal(mask_BL, before_BL)


@every
@pytest.mark.parametrize("kind", [torch.bool, torch.int32, torch.float32])
def test_any_kind_of_mask(
    name: str, kind: torch.dtype, hidden_BLD: Tensor, mask_BL: Tensor
) -> None:
    torch.testing.assert_close(
        ALL[name](hidden_BLD, mask_BL.to(kind)), ALL[name](hidden_BLD, mask_BL)
    )


@every
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_answers_in_the_dtype_of_its_input(
    name: str, kind: torch.dtype, hidden_BLD: Tensor, mask_BL: Tensor
) -> None:
    answer_BD = ALL[name](hidden_BLD.to(kind), mask_BL)
    assert answer_BD.dtype is kind
    torch.testing.assert_close(
        answer_BD.float(), ALL[name](hidden_BLD, mask_BL), atol=0.03, rtol=0.03
    )


@every
def test_half_precision_is_rounded_once(name: str) -> None:
    """4,096 tokens: a sum in bfloat16 would stop growing, one in float16 overflow."""
    expected = 30.0 * (4096**0.5 if name == "mean_sqrt_len" else 1)
    answer_BD = ALL[name](
        torch.full((1, 4096, WIDTH), 30.0, dtype=torch.float16), torch.ones(1, 4096)
    )
    assert answer_BD.isfinite().all()
    if name != "cls_pooler":
        torch.testing.assert_close(answer_BD, torch.full((1, WIDTH), expected).half())


@every
def test_under_autocast_the_dtype_stays(name: str, hidden_BLD: Tensor, mask_BL: Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer_BD = ALL[name](hidden_BLD, mask_BL)
    assert answer_BD.dtype is torch.float32
    tolerance = 1e-6 if isinstance(ALL[name], FunctionPooling) else 0.03
    torch.testing.assert_close(
        answer_BD, ALL[name](hidden_BLD, mask_BL), atol=tolerance, rtol=tolerance
    )


@every
def test_gradients_are_finite_and_spare_padding(
    name: str, hidden_BLD: Tensor, mask_BL: Tensor
) -> None:
    empty_BL = mask_BL.clone()
    empty_BL[1] = 0
    hidden_BLD.requires_grad_()
    answer_BD = ALL[name](hidden_BLD, empty_BL)
    answer_BD.pow(2).sum().backward()
    assert answer_BD.isfinite().all()
    assert hidden_BLD.grad is not None
    assert hidden_BLD.grad.isfinite().all()
    assert not hidden_BLD.grad[empty_BL == 0].any()
    assert hidden_BLD.grad[empty_BL.bool().any(1)].flatten(1).any(1).all()


@pytest.mark.parametrize("name", [name for name in ALL if name != "cls_pooler"])
def test_a_row_without_tokens_is_zeros(name: str, hidden_BLD: Tensor) -> None:
    assert not ALL[name](hidden_BLD, torch.zeros(4, 5)).any()


def test_attention_starts_as_the_mean(hidden_BLD: Tensor, mask_BL: Tensor) -> None:
    torch.testing.assert_close(
        AttentionPooling(WIDTH)(hidden_BLD, mask_BL), pooling.mean(hidden_BLD, mask_BL)
    )


def test_attention_learns_from_its_start(hidden_BLD: Tensor, mask_BL: Tensor) -> None:
    attention = AttentionPooling(WIDTH)
    attention(hidden_BLD, mask_BL).pow(2).sum().backward()
    assert attention.query.grad is not None
    assert attention.query.grad.any()


def test_attention_follows_its_formula(hidden_BLD: Tensor) -> None:
    attention = ALL["attention"]
    assert isinstance(attention, AttentionPooling)
    text_LD = hidden_BLD[0]
    weights_L = (torch.tanh(attention.project(text_LD)) @ attention.query).softmax(0)
    torch.testing.assert_close(
        attention(text_LD.unsqueeze(0), torch.ones(1, 5))[0], weights_L @ text_LD
    )


def test_cls_pooler_takes_a_checkpoints_pooler(hidden_BLD: Tensor, mask_BL: Tensor) -> None:
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertPooler

    theirs = BertPooler(BertConfig(hidden_size=WIDTH, num_attention_heads=1))
    ours = ClsPooler(WIDTH)
    ours.dense.load_state_dict(theirs.dense.state_dict())
    first_BL1D = pooling.cls(hidden_BLD, mask_BL).unsqueeze(1)
    torch.testing.assert_close(ours(hidden_BLD, mask_BL), theirs(first_BL1D))


@pytest.mark.parametrize("name", pooling.FIXED)
def test_a_fixed_pooling_leaves_a_single_token_as_it_is(name: str, hidden_BLD: Tensor) -> None:
    token_B1D = hidden_BLD[:, :1]
    found_BD = pooling.FIXED[name](token_B1D, torch.ones(len(token_B1D), 1))
    assert torch.equal(found_BD, token_B1D[:, 0])


def test_every_pooling_that_learns_nothing_is_fixed() -> None:
    learns_nothing = {name for name, module in ALL.items() if not module.state_dict()}
    assert learns_nothing == set(pooling.FIXED)
    assert all(pooling.fixed_name(ALL[name]) == name for name in learns_nothing)


def test_a_fixed_pooling_has_a_name() -> None:
    for function in (pooling.maximum, partial(pooling.maximum)):
        assert pooling.fixed_name(FunctionPooling(function)) == "max"
    others = [FunctionPooling(partial(pooling.maximum, mask_BL=None)), AttentionPooling(WIDTH)]
    others.append(FunctionPooling(lambda hidden_BLD, mask_BL: hidden_BLD[:, 0]))
    assert [pooling.fixed_name(other) for other in others] == [None] * 3
