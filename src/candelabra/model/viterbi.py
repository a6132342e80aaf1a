"""The best tag sequence that is valid BIO: constrained decoding without training.

Shapes: B examples, W words, C tags.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from candelabra.data.bio import OUTSIDE, may_follow, parse_tag
from candelabra.records import IGNORED


def bio_constraints(labels: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Which tags may start a text, and which may follow which (`may_follow`).

    Args:
        labels: The C tags in the order of their ids.

    Returns:
        Two boolean tensors, True where allowed: the first tag (C), and the step from the tag of
        the row to the tag of the column (C, C).

    Raises:
        ValueError: A label is no BIO tag, or none may start a text.
    """
    tags = [parse_tag(label) for label in labels]
    outside = parse_tag(OUTSIDE)
    start_C = torch.tensor([may_follow(outside, tag) for tag in tags], dtype=torch.bool)
    if not start_C.any():
        raise ValueError(
            f"BIO labels need an 'O' or a 'B-' tag to start with; found {list(labels)}"
        )
    allowed = [[may_follow(before, tag) for tag in tags] for before in tags]
    return start_C, torch.tensor(allowed, dtype=torch.bool)


@torch.no_grad()
def viterbi(
    scores_BWC: Tensor,
    mask_BW: Tensor,
    start_C: Tensor,
    transition_CC: Tensor,
    *,
    steps_CC: Tensor | None = None,
    linked_BW: Tensor | None = None,
) -> Tensor:
    """The allowed tag sequence with the largest summed score (Viterbi 1967).

    Where every word's best tag makes an allowed sequence, and steps have no scores, that is the
    answer.

    Args:
        scores_BWC: Logits or log-probabilities: both give the same answer.
        mask_BW: True where a word is, False where padding is, always at the end. A row may be
            all padding.
        start_C: Which tags may come first (`bio_constraints`).
        transition_CC: Which tag (column) may follow which (row).
        steps_CC: A score for each of these steps; None: 0.
        linked_BW: True where the step to a word from the one before has its score; None: always.

    Returns:
        Tag ids (B, W); `IGNORED` (-100) at padding.
    """
    num_words = scores_BWC.shape[1]
    if num_words == 0:
        return torch.full_like(mask_BW, IGNORED, dtype=torch.long)
    # A constant per word moves all paths alike, as log-softmax does; this one makes the path of
    # the words' best tags sum to exactly 0, so that rounding never ties it with another.
    scores_BWC = scores_BWC.float() - scores_BWC.float().amax(-1, keepdim=True)
    allowed_CC = torch.zeros_like(transition_CC, dtype=torch.float32)
    allowed_CC = allowed_CC.masked_fill(~transition_CC, float("-inf"))
    linked_BW = torch.ones_like(mask_BW) if linked_BW is None else linked_BW
    best_BC = scores_BWC[:, 0].masked_fill(~start_C, float("-inf"))
    stay_C = torch.arange(len(start_C), device=scores_BWC.device)
    origins: list[Tensor] = []
    for word in range(1, num_words):
        learnt_BCC = 0.0 if steps_CC is None else steps_CC * linked_BW[:, word, None, None]
        arriving_BC, origin_BC = (best_BC.unsqueeze(2) + allowed_CC + learnt_BCC).max(1)
        real_B1 = mask_BW[:, word].bool().unsqueeze(1)
        best_BC = torch.where(real_B1, arriving_BC + scores_BWC[:, word], best_BC)
        origins.append(torch.where(real_B1, origin_BC, stay_C))
    tags = [best_BC.argmax(1)]
    for origin_BC in reversed(origins):
        tags.append(origin_BC.gather(1, tags[-1].unsqueeze(1)).squeeze(1))
    return torch.stack(tags[::-1], 1).masked_fill(~mask_BW.bool(), IGNORED)
