"""A linear-chain conditional random field over word tags (Lafferty et al. 2001).

A sequence of tags scores the sum of its words' logits, of its first and last tag, and of each step
from a tag to the next; its probability is the softmax of that over all sequences. Only words that
were not cut by truncation take part. Across a gap of cut words nothing is known of what lies
between, so the step over it has no score and forbids nothing; the same at a cut beginning.

Shapes: B examples, W words, C tags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from candelabra.model.heads import Loss
from candelabra.model.tagging import TaggingHead
from candelabra.model.viterbi import bio_constraints
from candelabra.records import IGNORED, Batch

FORBIDDEN = -1e4
"""Score of a step that BIO forbids: as good as never, and finite, so that gradients are too."""


def links(mask_BW: Tensor) -> Tensor:
    """True where a word and the one before both take part: there a step counts."""
    before_BW = F.pad(mask_BW[:, :-1], (1, 0), value=False)
    return mask_BW & before_BW


def forward_scores(scores_BWC: Tensor, mask_BW: Tensor, steps_CC: Tensor) -> Tensor:
    """The forward algorithm: log of the summed exponentials of all sequences up to each word.

    Args:
        scores_BWC: Each tag's score at each word.
        mask_BW: True where a word takes part; the others repeat what came before them.
        steps_CC: Score of each step, from the tag of the row to that of the column.

    Returns:
        alpha_BWC, of the sequences that end in each tag. Its last word holds the sums over whole
        texts; where no word takes part, they sum to 1.
    """
    num_tags, linked_BW = scores_BWC.shape[-1], links(mask_BW)
    # Sums to 1, so that a first word adds nothing but its own scores.
    alpha_BC = torch.full_like(scores_BWC[:, 0], -math.log(num_tags))
    found = []
    for word in range(scores_BWC.shape[1]):
        steps_BCC = steps_CC * linked_BW[:, word, None, None]
        arriving_BC = (alpha_BC.unsqueeze(2) + steps_BCC).logsumexp(1) + scores_BWC[:, word]
        alpha_BC = torch.where(mask_BW[:, word, None], arriving_BC, alpha_BC)
        found.append(alpha_BC)
    return torch.stack(found, 1)


def negative_log_likelihood(
    scores_BWC: Tensor, mask_BW: Tensor, steps_CC: Tensor, tags_BW: Tensor
) -> Tensor:
    """`-log p` of each example's tags, (B).

    Args:
        scores_BWC: As in `forward_scores`.
        mask_BW: As in `forward_scores`.
        steps_CC: As in `forward_scores`.
        tags_BW: Right tags. At a word without a label (`IGNORED`) any tag is right: the sum runs
            over all of them. An example without a label costs 0.
    """
    known_BW1 = (tags_BW != IGNORED).unsqueeze(-1)
    tags_C = torch.arange(scores_BWC.shape[-1], device=tags_BW.device)
    wrong_BWC = known_BW1 & (tags_BW.unsqueeze(-1) != tags_C)
    # Sequences in all and right ones in one pass.
    both_BWC = torch.cat([scores_BWC, scores_BWC.masked_fill(wrong_BWC, float("-inf"))])
    sums_B = forward_scores(both_BWC, torch.cat([mask_BW, mask_BW]), steps_CC)[:, -1].logsumexp(-1)
    whole_B, right_B = sums_B.chunk(2)
    return (whole_B - right_B).masked_fill(~known_BW1.any(1)[:, 0], 0.0)


def marginals(scores_BWC: Tensor, mask_BW: Tensor, steps_CC: Tensor) -> Tensor:
    """Probability of each tag at each word, by forward-backward, (B, W, C); 0 at other words.

    Args:
        scores_BWC: As in `forward_scores`.
        mask_BW: As in `forward_scores`.
        steps_CC: As in `forward_scores`.
    """
    alpha_BWC = forward_scores(scores_BWC, mask_BW, steps_CC)
    turned_BWC = forward_scores(scores_BWC.flip(1), mask_BW.flip(1), steps_CC.T)
    both_BWC = alpha_BWC + turned_BWC.flip(1) - scores_BWC
    return both_BWC.softmax(-1).masked_fill(~mask_BW.unsqueeze(-1), 0.0)


class Transitions(nn.Module):
    """Scores of first tags, steps and last tags; they start at 0 and learn at their own rate.

    Args:
        labels: The BIO tags in the order of their ids.
        lr: Learning rate. At an encoder's rate they would hardly move.
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
        """Words' scores with those of first and last tags in them, and the steps' scores.

        In float32 or wider. The first tag counts where the first word takes part, the last one at
        the last word that does: cut words behind it and padding look alike.
        """
        wide = torch.promote_types(logits_BWC.dtype, torch.float32)
        begins_BW = mask_BW & (torch.arange(mask_BW.shape[1], device=mask_BW.device) == 0)
        ends_BW = mask_BW & (mask_BW.flip(1).cumsum(1).flip(1) == 1)
        begins_BWC = begins_BW.unsqueeze(-1) * (self.start_C + self.forbidden_start_C)
        scores_BWC = logits_BWC.to(wide) + begins_BWC + ends_BW.unsqueeze(-1) * self.end_C
        return scores_BWC, self.step_CC + self.forbidden_step_CC


class CrfHead(TaggingHead):
    """One BIO tag for each word, judged as a sequence: dropout, linear, CRF.

    The loss is that of whole sequences, summed over the batch; as with other tagging heads the
    caller divides it by the labelled words. Answers are the best valid sequence.

    Args:
        width: Width of a token embedding.
        labels: Tag names, `O`, `B-X` and `I-X`, in any order.
        dropout: Dropout on the token embeddings.
        transition_lr: Learning rate of the scores of steps between tags.
    """

    takes = ("cross_entropy",)

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
        """`-log p` of the right sequences, summed over the batch."""
        assert batch.first_BW is not None
        mask_BW = batch.first_BW >= 0
        scores_BWC, steps_CC = self.transitions(logits, mask_BW)
        return negative_log_likelihood(scores_BWC, mask_BW, steps_CC, batch.targets).sum()

    def check(self, function: Loss, shape: tuple[str, ...] = ()) -> None:
        """Raises ValueError for a loss of single words that is not the cross-entropy."""
        logits_1C, tags = (
            torch.arange(len(self.labels))[None].float(),
            torch.arange(len(self.labels)),
        )
        units = [(logits_1C, tag_1) for tag_1 in tags.split(1)]
        if not all(torch.isclose(function(*unit), F.cross_entropy(*unit)) for unit in units):
            raise ValueError(
                "a CRF head has the cross-entropy of whole sequences; the loss must be "
                "cross_entropy with label_smoothing 0, found another one"
            )

    def decode(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """tags_BW of the best sequence; words cut by truncation and trailing padding are `O`."""
        assert first_BW is not None
        mask_BW = first_BW >= 0
        scores_BWC, steps_CC = self.transitions(logits, mask_BW)
        return self._best(scores_BWC, first_BW, steps_CC=steps_CC, linked_BW=links(mask_BW))

    def probabilities(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """Of each tag at each word over all sequences (marginals), (B, W, C)."""
        assert first_BW is not None
        mask_BW = first_BW >= 0
        scores_BWC, steps_CC = self.transitions(logits, mask_BW)
        return marginals(scores_BWC, mask_BW, steps_CC)
