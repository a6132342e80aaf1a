"""A linear-chain conditional random field over word tags (Lafferty et al. 2001).

The score of a tag sequence is the sum of the words' logits, the scores of the first and the last
tag, and the scores of the transitions between neighbouring tags. Its probability is the softmax of
this score over all sequences. Words removed by truncation are left out. The tags in such a gap are
unknown, so the transition across it has score 0 and is never forbidden; the same holds for the
first tag when the first word was removed.

Shapes: B examples, W words, C tags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from candelabra.model.heads.base import Loss
from candelabra.model.heads.tagging import TaggingHead
from candelabra.model.heads.viterbi import FORBIDDEN, bio_constraints
from candelabra.records import IGNORED, Batch

IMPOSSIBLE = -100.0
"""Stored logarithm of the probability of a tag that BIO rules out at a place."""


def links(mask_BW: Tensor) -> Tensor:
    """Return a mask of the words whose transition from the previous word counts.

    Args:
        mask_BW: True for the words that are part of the sequence.

    Returns:
        Mask (B, W), True where a word and its predecessor are both part of the sequence.

    Example:
        >>> links(torch.tensor([[True, True, False, True]]))
        tensor([[False,  True, False, False]])
    """
    before_BW = F.pad(mask_BW[:, :-1], (1, 0), value=False)
    return mask_BW & before_BW


def forward_scores(scores_BWC: Tensor, mask_BW: Tensor, steps_CC: Tensor) -> Tensor:
    """Compute the log-sum-exp of the scores of all tag sequences, with the forward algorithm.

    Args:
        scores_BWC: Score of each tag at each word.
        mask_BW: True for the words that are part of the sequence. At other words the result of the
            previous word is repeated.
        steps_CC: Score of each transition, from the tag of the row to the tag of the column.

    Returns:
        alpha_BWC: log-sum-exp over all sequences up to a word that end in a tag. The values at the
        last position cover whole texts; for a text without words their exponentials sum to 1.
    """
    num_tags, linked_BW = scores_BWC.shape[-1], links(mask_BW)
    # The exponentials sum to 1, so that only its own scores enter at the first word.
    alpha_BC = torch.full_like(scores_BWC[:, 0], -math.log(num_tags))
    alphas = []
    for word in range(scores_BWC.shape[1]):
        steps_BCC = steps_CC * linked_BW[:, word, None, None]
        arriving_BC = (alpha_BC.unsqueeze(2) + steps_BCC).logsumexp(1) + scores_BWC[:, word]
        alpha_BC = torch.where(mask_BW[:, word, None], arriving_BC, alpha_BC)
        alphas.append(alpha_BC)
    return torch.stack(alphas, 1)


def negative_log_likelihood(
    scores_BWC: Tensor, mask_BW: Tensor, steps_CC: Tensor, tags_BW: Tensor
) -> Tensor:
    """Compute the negative log-likelihood of each example's tags.

    Args:
        scores_BWC: As in `forward_scores`.
        mask_BW: As in `forward_scores`.
        steps_CC: As in `forward_scores`.
        tags_BW: Gold tags. A word without a label (`IGNORED`) is marginalized over all tags.

    Returns:
        `-log p` of each example in nats, (B). It is 0 for an example without labels.
    """
    known_BW1 = (tags_BW != IGNORED).unsqueeze(-1)
    tags_C = torch.arange(scores_BWC.shape[-1], device=tags_BW.device)
    wrong_BWC = known_BW1 & (tags_BW.unsqueeze(-1) != tags_C)
    # One pass computes both the partition function and the score of the gold tags.
    both_BWC = torch.cat([scores_BWC, scores_BWC.masked_fill(wrong_BWC, float("-inf"))])
    sums_B = forward_scores(both_BWC, torch.cat([mask_BW, mask_BW]), steps_CC)[:, -1].logsumexp(-1)
    all_B, gold_B = sums_B.chunk(2)
    return (all_B - gold_B).masked_fill(~known_BW1.any(1)[:, 0], 0.0)


def log_marginals(scores_BWC: Tensor, mask_BW: Tensor, steps_CC: Tensor) -> Tensor:
    """Compute the logarithm of each tag's marginal probability at each word, by forward-backward.

    Args:
        scores_BWC: As in `forward_scores`.
        mask_BW: As in `forward_scores`.
        steps_CC: As in `forward_scores`.

    Returns:
        Logarithms (B, W, C). They have no meaning at words outside the mask.
    """
    alpha_BWC = forward_scores(scores_BWC, mask_BW, steps_CC)
    backward_BWC = forward_scores(scores_BWC.flip(1), mask_BW.flip(1), steps_CC.T)
    both_BWC = alpha_BWC + backward_BWC.flip(1) - scores_BWC
    return both_BWC.log_softmax(-1)


class Transitions(nn.Module):
    """Learned scores of first tags, transitions and last tags, initialized to 0.

    Args:
        labels: BIO tags in the order of their ids.
        lr: Learning rate of these scores. At the encoder's learning rate they would barely change.

    Raises:
        ValueError: If `lr` is not positive, or a label is not a BIO tag.
    """

    forbidden_start_C: Tensor
    forbidden_step_CC: Tensor

    def __init__(self, labels: Sequence[str], *, lr: float) -> None:
        super().__init__()
        if not lr > 0:
            raise ValueError(f"transition_lr must be positive; found {lr}")
        self.lr = lr
        start_C, allowed_CC = bio_constraints(labels)
        self.start_C = nn.Parameter(torch.zeros(len(labels)))
        self.step_CC = nn.Parameter(torch.zeros(len(labels), len(labels)))
        self.end_C = nn.Parameter(torch.zeros(len(labels)))
        for name, allowed in (("forbidden_start_C", start_C), ("forbidden_step_CC", allowed_CC)):
            score = torch.zeros(allowed.shape).masked_fill(~allowed, FORBIDDEN)
            self.register_buffer(name, score, persistent=False)

    def forward(self, logits_BWC: Tensor, mask_BW: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the scores that the functions of this module take, in float32 or wider.

        The start score is added at the first word, unless truncation removed it. The end score is
        added at the last remaining word, because words removed after it look like padding.

        Args:
            logits_BWC: Logits of the tags at each word.
            mask_BW: True for the words that are part of the sequence.

        Returns:
            scores_BWC with start and end scores, and the transition scores steps_CC.
        """
        wide = torch.promote_types(logits_BWC.dtype, torch.float32)
        begins_BW = mask_BW & (torch.arange(mask_BW.shape[1], device=mask_BW.device) == 0)
        ends_BW = mask_BW & (mask_BW.flip(1).cumsum(1).flip(1) == 1)
        begins_BWC = begins_BW.unsqueeze(-1) * (self.start_C + self.forbidden_start_C)
        scores_BWC = logits_BWC.to(wide) + begins_BWC + ends_BW.unsqueeze(-1) * self.end_C
        return scores_BWC, self.step_CC + self.forbidden_step_CC


class CrfHead(TaggingHead):
    """Head that predicts one BIO tag per word with dropout, a linear layer and a CRF.

    The loss is the negative log-likelihood of whole sequences, summed over the batch. As with
    other tagging heads, the caller divides it by the number of labelled words. The prediction is
    the most probable valid sequence.

    Args:
        width: Width of a token embedding.
        labels: Tag names `O`, `B-X` and `I-X`, in any order.
        dropout: Dropout probability on the token embeddings.
        transition_lr: Learning rate of the transition scores.
    """

    takes = ("cross_entropy",)
    formats = ("onnx",)

    def __init__(
        self,
        width: int,
        labels: Sequence[str],
        *,
        dropout: float = 0.1,
        transition_lr: float = 1e-2,
    ) -> None:
        super().__init__(width, labels, dropout=dropout)
        self.transitions = Transitions(self.labels, lr=transition_lr)

    def loss(self, function: Loss, logits: Tensor, batch: Batch) -> Tensor:
        """Return `-log p` of the gold tag sequences, summed over the batch."""
        assert batch.first_BW is not None
        mask_BW = batch.first_BW >= 0
        scores_BWC, steps_CC = self.transitions(logits, mask_BW)
        return negative_log_likelihood(scores_BWC, mask_BW, steps_CC, batch.targets).sum()

    def sequence_scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scores of first tags (C), transitions (C, C), and last tags (C)."""
        start_C, steps_CC, _ = super().sequence_scores()
        learned = self.transitions
        return start_C + learned.start_C, steps_CC + learned.step_CC, learned.end_C

    def check(self, function: Loss, shape: tuple[str, ...] = ()) -> None:
        """Raise ValueError if the loss differs from the cross-entropy, which the CRF implies."""
        logits_1C, tags = (
            torch.arange(len(self.labels))[None].float(),
            torch.arange(len(self.labels)),
        )
        units = [(logits_1C, tag_1) for tag_1 in tags.split(1)]
        if not all(torch.isclose(function(*unit), F.cross_entropy(*unit)) for unit in units):
            raise ValueError(
                "a CRF head computes the cross-entropy of whole sequences; the loss must be "
                "cross_entropy with label_smoothing 0, found another one"
            )

    def decode(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """Return the most probable valid tags_BW; removed words and padding get the id of `O`."""
        assert first_BW is not None
        mask_BW = first_BW >= 0
        scores_BWC, steps_CC = self.transitions(logits, mask_BW)
        return self._best(scores_BWC, first_BW, steps_CC=steps_CC, linked_BW=links(mask_BW))

    def soft_answers(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """Return the logarithms of the marginal probabilities, (B, W, C)."""
        assert first_BW is not None
        mask_BW = first_BW >= 0
        scores_BWC, steps_CC = self.transitions(logits, mask_BW)
        log_BWC = log_marginals(scores_BWC, mask_BW, steps_CC)
        # A tag that BIO rules out has one value in all models. Others keep theirs, however small,
        # so that a student that is surely wrong still has a gradient.
        return torch.where(log_BWC < FORBIDDEN / 2, IMPOSSIBLE, log_BWC)

    def kl_to(self, logits: Tensor, reference: Tensor, temperature: float) -> Tensor:
        """Compute the divergence over the tags that BIO allows; not every reference follows BIO."""
        ruled_out_BWC = logits == IMPOSSIBLE
        return super().kl_to(logits, reference.masked_fill(ruled_out_BWC, IMPOSSIBLE), temperature)

    def probabilities(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """Return the marginal probability of each tag, (B, W, C); 0 for words outside the text."""
        assert first_BW is not None
        return self.soft_answers(logits, first_BW).exp() * (first_BW >= 0).unsqueeze(-1)
