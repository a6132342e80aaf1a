"""Constrained decoding: the best tag sequence that is valid BIO.

Shapes: B examples, W words, C tags.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from candelabra.data.bio import OUTSIDE, may_follow, parse_tag
from candelabra.records import IGNORED

FORBIDDEN = -1e4
"""Score of a transition that BIO forbids; finite, so that gradients stay finite."""


def bio_constraints(labels: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return which tags may start a text and which transitions BIO allows.

    Args:
        labels: The C tags in the order of their ids.

    Returns:
        start_C, True for tags that may come first, and transition_CC, True where the tag of the
        column may follow the tag of the row.

    Raises:
        ValueError: If a label is not a BIO tag, or no tag may start a text.

    Example:
        >>> bio_constraints(["O", "B-X", "I-X"])[0]
        tensor([ True,  True, False])
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
    """Find the allowed tag sequence with the largest total score (Viterbi 1967).

    Without `steps_CC`, the best tags of the words are returned whenever they form an allowed
    sequence.

    Args:
        scores_BWC: Logits or log-probabilities of the tags; both lead to the same result.
        mask_BW: True for words, False for padding, which must be at the end. A row may consist of
            padding only.
        start_C: True for tags that may come first (see `bio_constraints`).
        transition_CC: True where the tag of the column may follow the tag of the row.
        steps_CC: Score of each transition. By default 0.
        linked_BW: True where the transition score from the previous word to this word counts. By
            default, everywhere.

    Returns:
        Tag ids (B, W), with `IGNORED` (-100) at padding.

    Example:
        >>> start_C, transition_CC = bio_constraints(["O", "B-X", "I-X"])
        >>> scores_BWC = torch.tensor([[[0.0, 1.0, 2.0], [0.0, 0.0, 3.0]]])
        >>> viterbi(scores_BWC, torch.tensor([[True, True]]), start_C, transition_CC)
        tensor([[1, 2]])
    """
    num_words = scores_BWC.shape[1]
    if num_words == 0:
        return torch.full_like(mask_BW, IGNORED, dtype=torch.long)
    # A constant per word changes all paths equally. Subtracting the maximum makes the path of the
    # words' best tags sum to exactly 0, so that rounding cannot tie it with another path.
    scores_BWC = scores_BWC.float() - scores_BWC.float().amax(-1, keepdim=True)
    allowed_CC = torch.zeros_like(transition_CC, dtype=torch.float32)
    allowed_CC = allowed_CC.masked_fill(~transition_CC, float("-inf"))
    linked_BW = torch.ones_like(mask_BW) if linked_BW is None else linked_BW
    best_BC = scores_BWC[:, 0].masked_fill(~start_C, float("-inf"))
    stay_C = torch.arange(len(start_C), device=scores_BWC.device)
    origins: list[Tensor] = []
    for word in range(1, num_words):
        learned_BCC = 0.0 if steps_CC is None else steps_CC * linked_BW[:, word, None, None]
        arriving_BC, origin_BC = (best_BC.unsqueeze(2) + allowed_CC + learned_BCC).max(1)
        real_B1 = mask_BW[:, word].bool().unsqueeze(1)
        best_BC = torch.where(real_B1, arriving_BC + scores_BWC[:, word], best_BC)
        origins.append(torch.where(real_B1, origin_BC, stay_C))
    return _backtrace(best_BC.argmax(1), origins).masked_fill(~mask_BW.bool(), IGNORED)


def _backtrace(last_B: Tensor, origins: Sequence[Tensor]) -> Tensor:
    """Follow the origins from the best last tag back to the first word, and return tags_BW."""
    tags = [last_B]
    for origin_BC in reversed(origins):
        tags.append(origin_BC.gather(1, tags[-1].unsqueeze(1)).squeeze(1))
    return torch.stack(tags[::-1], 1)
