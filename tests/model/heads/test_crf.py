"""The CRF against the enumeration of all tag sequences."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor

from candelabra.losses.classification import class_balanced, cross_entropy, focal
from candelabra.model.heads.crf import (
    FORBIDDEN,
    CrfHead,
    forward_scores,
    log_marginals,
    negative_log_likelihood,
)
from candelabra.model.pooling import mean
from candelabra.records import IGNORED, Batch, Encoded, Tokens
from helpers.toys import Splits, fit, tagged, tiny, toy_model, toy_module

TAGS = ["I-Year", "O", "B-Year", "B-Actor"]
OUTSIDE, WORDS = TAGS.index("O"), 4
MASKS = [
    [True, True, True, True],
    [True, True, True, False],  # padding, or cut at the end
    [True, False, True, True],  # cut in the middle
    [False, True, False, True],  # cut at the beginning too
    [True, False, False, False],
    [False, False, False, False],
]
MASK_BW = torch.tensor(MASKS)
FIRST_BW = torch.where(MASK_BW, 3, -1)
EVERY_PATH = list(product(range(len(TAGS)), repeat=WORDS))


def crf(seed: int = 0) -> CrfHead:
    """A head whose transitions are not zero."""
    torch.manual_seed(seed)
    head = CrfHead(6, TAGS).double().eval()
    for parameter in head.transitions.parameters():
        torch.nn.init.normal_(parameter)
    return head


def random_logits(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(len(MASKS), WORDS, len(TAGS), generator=generator).double()


def score(head: CrfHead, logits_WC: Tensor, mask: list[bool], path: tuple[int, ...]) -> float:
    """Words that take part, the first tag, the last one, and steps between neighbours."""
    parts = head.transitions
    real = [word for word in range(WORDS) if mask[word]]
    total = math.fsum(logits_WC[word, path[word]].item() for word in real)
    if mask[0]:
        total += (parts.start_C + parts.forbidden_start_C)[path[0]].item()
    if real:
        total += parts.end_C[path[real[-1]]].item()
    for before, after in zip(range(WORDS - 1), range(1, WORDS), strict=True):
        if mask[before] and mask[after]:
            steps_CC = parts.step_CC + parts.forbidden_step_CC
            total += steps_CC[path[before], path[after]].item()
    return total


def enumerated(head: CrfHead, logits_BWC: Tensor) -> list[dict[tuple[int, ...], float]]:
    """For each row the score of every path; words that take no part are O in each."""
    return [
        {
            path: score(head, logits_WC, mask, path)
            for path in EVERY_PATH
            if all(real or tag == OUTSIDE for real, tag in zip(mask, path, strict=True))
        }
        for logits_WC, mask in zip(logits_BWC, MASKS, strict=True)
    ]


def log_sum(scores: list[float]) -> float:
    return torch.tensor(scores, dtype=torch.double).logsumexp(0).item()


def is_valid(path: tuple[int, ...]) -> bool:
    names = [TAGS[tag] for tag in path]
    pairs = zip(["O", *names], names, strict=False)
    return all(name != "I-Year" or before.endswith("-Year") for before, name in pairs)


@pytest.mark.parametrize("seed", range(3))
def test_the_partition_is_the_sum_over_all_sequences(seed: int) -> None:
    head, logits_BWC = crf(seed), random_logits(seed)
    scores_BWC, steps_CC = head.transitions(logits_BWC, MASK_BW)
    found_B = forward_scores(scores_BWC, MASK_BW, steps_CC)[:, -1].logsumexp(-1)
    expected = [log_sum(list(paths.values())) for paths in enumerated(head, logits_BWC)]
    assert found_B.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("missing", [[], [1], [0, 2], [0, 1, 2, 3]])
def test_the_loss_is_minus_the_log_of_what_agrees_with_the_labels(
    seed: int, missing: list[int]
) -> None:
    head, logits_BWC = crf(seed), random_logits(seed)
    gold = [2, 0, 1, 3]
    tags_BW = torch.tensor([gold] * len(MASKS))
    tags_BW[:, missing] = IGNORED
    batch = batch_of(tags_BW)
    expected = []
    for mask, paths in zip(MASKS, enumerated(head, logits_BWC), strict=True):
        told = [word for word in range(WORDS) if mask[word] and word not in missing]
        right = [s for path, s in paths.items() if all(path[w] == gold[w] for w in told)]
        expected.append(log_sum(list(paths.values())) - log_sum(right) if told else 0.0)
    found = head.loss(cross_entropy, logits_BWC, batch)
    assert found.item() == pytest.approx(math.fsum(expected), abs=1e-9)


def batch_of(tags_BW: Tensor) -> Batch:
    tokens = Tokens(torch.ones(len(tags_BW), 5).long(), torch.ones(len(tags_BW), 5).long())
    return Batch((tokens,), tags_BW, torch.arange(len(tags_BW)), 1, 1, 1, FIRST_BW)


@pytest.mark.parametrize("seed", range(3))
def test_marginals_are_sums_over_the_sequences(seed: int) -> None:
    head, logits_BWC = crf(seed), random_logits(seed)
    found_BWC = head.probabilities(logits_BWC, FIRST_BW)
    for row, paths in enumerate(enumerated(head, logits_BWC)):
        whole = log_sum(list(paths.values()))
        for word, tag in product(range(WORDS), range(len(TAGS))):
            some = [math.exp(s - whole) for path, s in paths.items() if path[word] == tag]
            expected = math.fsum(some) if MASKS[row][word] else 0.0
            assert found_BWC[row, word, tag].item() == pytest.approx(expected, abs=1e-9)


def test_marginals_are_the_slope_of_the_partition() -> None:
    head, logits_BWC = crf(), random_logits().requires_grad_()
    scores_BWC, steps_CC = head.transitions(logits_BWC, MASK_BW)
    forward_scores(scores_BWC, MASK_BW, steps_CC)[:, -1].logsumexp(-1).sum().backward()
    marginals_BWC = log_marginals(scores_BWC, MASK_BW, steps_CC).detach().exp()
    torch.testing.assert_close(logits_BWC.grad, marginals_BWC * MASK_BW.unsqueeze(-1))


@pytest.mark.parametrize("seed", range(5))
def test_decodes_the_best_valid_sequence(seed: int) -> None:
    head, logits_BWC = crf(seed), random_logits(seed)
    found = head.decode(logits_BWC, FIRST_BW).tolist()
    for tags, paths in zip(found, enumerated(head, logits_BWC), strict=True):
        best = max((path for path in paths if is_valid(path)), key=paths.__getitem__)
        assert tuple(tags) == best


def test_forbidden_sequences_have_no_probability() -> None:
    head, logits_BWC = crf(), random_logits()
    for mask, paths in zip(MASKS, enumerated(head, logits_BWC), strict=True):
        if all(mask):
            whole = log_sum(list(paths.values()))
            assert all(math.exp(s - whole) == 0 for path, s in paths.items() if not is_valid(path))
    assert head.transitions.forbidden_step_CC[OUTSIDE, TAGS.index("I-Year")] == FORBIDDEN


def test_gradients_are_those_of_the_loss() -> None:
    head = crf()
    tags_BW = torch.tensor([[2, 0, 1, 3], [3, 1, 2, 0], [2, 0, 0, 0]] * 2)
    tags_BW[1, 2] = IGNORED

    def loss(logits: Tensor, start: Tensor, step: Tensor, end: Tensor) -> Tensor:
        parts = {"start_C": start, "step_CC": step, "end_C": end}
        scores, steps = torch.func.functional_call(head.transitions, parts, (logits, MASK_BW))
        return negative_log_likelihood(scores, MASK_BW, steps, tags_BW)

    given = [p.detach().clone().requires_grad_() for p in head.transitions.parameters()]
    assert torch.autograd.gradcheck(loss, [random_logits().requires_grad_(), *given])


def test_what_takes_no_part_has_no_influence() -> None:
    head, logits_BWC = crf(), random_logits()
    tags_BW = torch.tensor([[2, 0, 1, 3]] * len(MASKS))
    other_BWC = logits_BWC.masked_fill(~MASK_BW.unsqueeze(-1), 77.0).requires_grad_()
    longer = torch.nn.functional.pad(logits_BWC, (0, 0, 0, 2), value=5.0)
    longer_mask = torch.nn.functional.pad(MASK_BW, (0, 2), value=False)
    longer_tags = torch.nn.functional.pad(tags_BW, (0, 2), value=IGNORED)

    def loss(logits: Tensor, mask: Tensor, tags: Tensor) -> Tensor:
        scores, steps = head.transitions(logits, mask)
        return negative_log_likelihood(scores, mask, steps, tags)

    found = [
        loss(logits_BWC, MASK_BW, tags_BW),
        loss(other_BWC, MASK_BW, tags_BW),
        loss(longer, longer_mask, longer_tags),
    ]
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])
    found[1].sum().backward()
    assert other_BWC.grad is not None
    assert not other_BWC.grad[~MASK_BW].any()


def test_a_gold_entity_that_goes_on_after_a_gap_costs_no_more_than_any_other() -> None:
    """B-Year [cut] I-Year: compacted blindly it would read O I-Year, which is forbidden."""
    head = CrfHead(6, TAGS)
    tags_BW = torch.tensor([[1, 2, 0, 1]] * len(MASKS))
    loss = head.loss(cross_entropy, torch.zeros(len(MASKS), WORDS, len(TAGS)), batch_of(tags_BW))
    assert 0 < loss < len(MASKS) * WORDS * math.log(len(TAGS))


def test_loss_and_answers_are_in_float32_under_autocast() -> None:
    head = crf().float()
    encoded = Encoded(torch.randn(len(MASKS), 5, 6), torch.ones(len(MASKS), 5).long())
    batch = batch_of(torch.tensor([[2, 0, 1, 3]] * len(MASKS)))
    with torch.autocast("cpu", torch.bfloat16):
        logits = head((encoded,), mean, FIRST_BW)
        loss = head.loss(cross_entropy, logits, batch)
        probabilities = head.probabilities(logits, FIRST_BW)
    assert logits.dtype is torch.bfloat16
    assert loss.dtype is probabilities.dtype is torch.float32
    assert torch.equal(loss, head.loss(cross_entropy, logits.float(), batch))
    assert torch.equal(head.decode(logits, FIRST_BW), head.decode(logits.float(), FIRST_BW))


def test_with_zero_transitions_it_is_the_constrained_head() -> None:
    head = CrfHead(6, TAGS)
    logits_BWC = random_logits().float()
    plain = head._best(logits_BWC.log_softmax(-1), FIRST_BW)
    assert torch.equal(head.decode(logits_BWC, FIRST_BW), plain)


def test_spans_are_scored_by_marginals() -> None:
    head = crf()
    examples = tagged([(["in", "the", "1987", "film"], [1, 1, 2, 1])] * len(MASKS))
    logits_BWC = random_logits()
    before = copy.deepcopy(logits_BWC)
    answers = head.describe(logits_BWC, FIRST_BW, examples)
    tags_BW = head.decode(logits_BWC, FIRST_BW)
    marginal_BWC = head.probabilities(logits_BWC, FIRST_BW)
    assert any(answers)
    assert examples.words is not None
    for row, (spans, words) in enumerate(zip(answers, examples.words, strict=True)):
        for span in spans:
            within = [span["start"] <= start and end <= span["end"] for start, end in words]
            inside = [word for word in range(WORDS) if within[word]]
            each = [marginal_BWC[row, w, tags_BW[row, w]].item() for w in inside]
            assert span["score"] == pytest.approx(math.fsum(each) / len(each))
    assert torch.equal(logits_BWC, before)


@pytest.mark.parametrize(
    "loss",
    [
        partial(cross_entropy, label_smoothing=0.1),
        focal,
        partial(class_balanced, counts=[1, 100, 1, 1]),
    ],
)
def test_losses_of_single_words_are_refused(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="cross_entropy with label_smoothing 0"):
        CrfHead(6, TAGS).check(loss)


def test_cross_entropy_is_accepted() -> None:
    CrfHead(6, TAGS).check(partial(cross_entropy, label_smoothing=0.0))


def test_a_rate_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="transition_lr must be positive; found 0"):
        CrfHead(6, TAGS, transition_lr=0.0)


def test_constraints_are_no_state() -> None:
    names = {name.rpartition(".")[2] for name in CrfHead(6, TAGS).state_dict()}
    assert names == {"weight", "bias", "start_C", "step_CC", "end_C"}


def test_learns_in_a_training_step_at_its_own_rate(toys: Splits) -> None:
    encoder = tiny()
    model = toy_model(encoder)
    model.heads["who"] = CrfHead(encoder.width, model.head("who").labels, dropout=0.0)
    module = fit(toys, toy_module(model), data={"steps_per_epoch": 3, "epoch": "steps"})
    parts = model.heads["who"].transitions
    moved = torch.cat([p.detach().flatten() for p in parts.parameters()]).abs()
    # AdamW moves by about its rate a step, whatever the gradient.
    assert moved.max() == pytest.approx(0.03, rel=0.2)
    assert module.steps_done == 3
