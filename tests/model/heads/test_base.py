from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from torch import Tensor

from candelabra.model.heads.base import Head
from candelabra.model.heads.classification import ClassificationHead, MlpHead
from candelabra.model.heads.tagging import TaggingHead, TaggingMlpHead, spans
from candelabra.model.pooling import mean
from candelabra.records import IGNORED, Encoded
from helpers.toys import sentences, tagged

WIDTH = 6
CLASSES = ["negative", "neutral", "positive"]
TAGS = ["I-Year", "B-Actor", "O", "B-Year", "I-Actor"]
FIRST_BW = torch.tensor([[1, 2, 4, 5], [1, 3, -1, -1], [-1, 2, -1, 3]])
WORDS = tagged(
    [
        (["with", "michael", "douglas", "1995"], [2, 1, 4, 3]),
        (["in", "1987"], [2, 3]),
        (["gone", "streep", "lost", "1980"], [1, 1, 4, 3]),
    ]
)


@pytest.fixture
def encoded() -> Encoded:
    hidden_BLD = torch.randn(3, 7, WIDTH, generator=torch.Generator().manual_seed(0))
    mask_BL = (torch.arange(7) < torch.tensor([7, 5, 4]).unsqueeze(1)).long()
    return Encoded(hidden_BLD, mask_BL)


def classifier(kind: type[ClassificationHead] = ClassificationHead) -> ClassificationHead:
    torch.manual_seed(0)
    return kind(WIDTH, CLASSES).eval()


def tagger(**kwargs: bool) -> TaggingHead:
    torch.manual_seed(0)
    return TaggingHead(WIDTH, TAGS, **kwargs).eval()


def random_logits(seed: int, num_words: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, num_words, len(TAGS), generator=generator) * 3


def is_valid(tags: list[str]) -> bool:
    pairs = zip(["O", *tags], tags, strict=False)
    return all(t[0] != "I" or (b != "O" and b[2:] == t[2:]) for b, t in pairs)


@pytest.mark.parametrize("kind", [ClassificationHead, MlpHead])
def test_classification_is_linear_over_the_pooled_text(
    kind: type[ClassificationHead], encoded: Encoded
) -> None:
    head = classifier(kind)
    logits_BC = head((encoded,), mean, None)
    pooled_BD = mean(encoded.hidden_BLD, encoded.mask_BL)
    linear = [layer for layer in head.modules() if isinstance(layer, torch.nn.Linear)]
    if kind is MlpHead:
        pooled_BD = torch.tanh(linear[0](pooled_BD))
    assert len(linear) == (2 if kind is MlpHead else 1)
    torch.testing.assert_close(logits_BC, linear[-1](pooled_BD))
    assert logits_BC.shape == (3, len(CLASSES))
    assert torch.equal(head.decode(logits_BC), logits_BC.argmax(-1))


@pytest.mark.parametrize("head", [classifier(), classifier(MlpHead), tagger()])
def test_dropout_is_on_in_training_only(head: Head, encoded: Encoded) -> None:
    def twice() -> tuple[Tensor, Tensor]:
        return head((encoded,), mean, FIRST_BW), head((encoded,), mean, FIRST_BW)

    torch.manual_seed(0)
    one, other = twice()
    assert torch.equal(one, other)
    head.train()
    one, other = twice()
    head.eval()
    assert not torch.equal(one, other)


@given(st.lists(st.lists(st.floats(-80, 80), min_size=3, max_size=3), min_size=1, max_size=5))
def test_class_answers_are_probabilities(rows: list[list[float]]) -> None:
    examples = sentences(["text"] * len(rows), [0] * len(rows))
    head, logits_BC = classifier(), torch.tensor(rows)
    answers = head.describe(logits_BC, None, examples)
    for answer, best in zip(answers, head.decode(logits_BC).tolist(), strict=True):
        probabilities = answer["probabilities"]
        assert list(probabilities) == CLASSES
        assert math.fsum(probabilities.values()) == pytest.approx(1, abs=1e-6)
        assert answer["score"] == max(probabilities.values()) == probabilities[answer["label"]]
        assert probabilities[CLASSES[best]] == pytest.approx(answer["score"])


def test_gold_labels_have_the_form_of_the_answers() -> None:
    examples = sentences(["a", "b"], [2, 0])
    assert classifier().describe_labels(examples) == ["positive", "negative"]


def test_tagging_reads_first_pieces(encoded: Encoded) -> None:
    head = tagger()
    logits_BWC = head((encoded,), mean, FIRST_BW)
    assert logits_BWC.shape == (3, 4, len(TAGS))
    for row, word in FIRST_BW.ge(0).nonzero().tolist():
        piece_D = encoded.hidden_BLD[row, FIRST_BW[row, word]]
        torch.testing.assert_close(logits_BWC[row, word], head.classifier(piece_D))


def test_a_dense_layer_may_stand_before_the_tags(encoded: Encoded) -> None:
    torch.manual_seed(0)
    head = TaggingMlpHead(WIDTH, TAGS).eval()
    dense, linear = (m for m in head.modules() if isinstance(m, torch.nn.Linear))
    logits_BWC = head((encoded,), mean, FIRST_BW)
    expected = linear(torch.tanh(dense(encoded.hidden_BLD[0, FIRST_BW[0]])))
    torch.testing.assert_close(logits_BWC[0], expected)
    assert len([m for m in head.modules() if isinstance(m, torch.nn.Dropout)]) == 2
    free = TaggingMlpHead(WIDTH, TAGS, constrained=False)
    assert free.transition_CC.all()
    assert not head.transition_CC.all()


@given(st.integers(0, 10_000))
def test_decoded_tags_are_valid_and_cut_words_are_outside(seed: int) -> None:
    tags_BW = tagger().decode(random_logits(seed), FIRST_BW)
    assert tags_BW.shape == FIRST_BW.shape
    assert (tags_BW[FIRST_BW < 0] == TAGS.index("O")).all()
    assert all(is_valid([TAGS[tag] for tag in row]) for row in tags_BW.tolist())


@given(st.integers(0, 10_000))
def test_a_valid_best_path_is_the_argmax(seed: int) -> None:
    logits_BWC = random_logits(seed)
    greedy = tagger(constrained=False).decode(logits_BWC, FIRST_BW)
    expected = logits_BWC.argmax(-1).masked_fill(FIRST_BW < 0, TAGS.index("O"))
    assert torch.equal(greedy, expected)
    best = tagger().decode(logits_BWC, FIRST_BW)
    for free, tags in zip(greedy.tolist(), best.tolist(), strict=True):
        if is_valid([TAGS[tag] for tag in free]):
            assert tags == free


@given(st.integers(0, 10_000), st.booleans())
def test_spans_have_the_right_characters_and_scores(seed: int, constrained: bool) -> None:
    head, logits_BWC = tagger(constrained=constrained), random_logits(seed)
    answers = head.describe(logits_BWC, FIRST_BW, WORDS)
    tags_BW, probabilities_BWC = head.decode(logits_BWC, FIRST_BW), logits_BWC.softmax(-1)
    assert WORDS.words is not None
    for row, (text, words, found) in enumerate(
        zip(WORDS.texts[0], WORDS.words, answers, strict=True)
    ):
        tags = [TAGS[tag] for tag in tags_BW[row, : len(words)].tolist()]
        expected = get_entities(tags)
        assert [span["type"] for span in found] == [kind for kind, _, _ in expected]
        for span, (_, first, last) in zip(found, expected, strict=True):
            assert (span["start"], span["end"]) == (words[first][0], words[last][1])
            assert span["text"] == text[span["start"] : span["end"]]
            inside = range(first, last + 1)
            each = [probabilities_BWC[row, w, tags_BW[row, w]].item() for w in inside]
            assert span["score"] == pytest.approx(sum(each) / len(each), abs=1e-5)
            assert 0 <= span["score"] <= 1


def test_gold_spans() -> None:
    assert tagger().describe_labels(WORDS)[0] == [
        {"text": "michael douglas", "type": "Actor", "start": 5, "end": 20},
        {"text": "1995", "type": "Year", "start": 21, "end": 25},
    ]


def test_spans_read_characters_of_a_typed_text() -> None:
    text, words = "who, michael  douglas?", [(0, 3), (5, 12), (14, 21)]
    assert spans(text, words, ["O", "B-Actor", "I-Actor"], [0.1, 0.5, 1.0]) == [
        {"text": "michael  douglas", "type": "Actor", "start": 5, "end": 21, "score": 0.75}
    ]
    assert spans(text, words, ["O", "O", "O"], [0.1, 0.5, 1.0]) == []


def test_half_precision_is_decoded_in_float32() -> None:
    logits_BWC = random_logits(0, 200).bfloat16()
    first_BW = torch.ones(3, 200, dtype=torch.long)
    head = tagger()
    assert torch.equal(head.decode(logits_BWC, first_BW), head.decode(logits_BWC.float(), first_BW))


@pytest.mark.parametrize("head", [classifier(), tagger()])
def test_inputs_are_unchanged(head: Head, encoded: Encoded) -> None:
    logits = random_logits(0) if isinstance(head, TaggingHead) else random_logits(0)[:, 0, :3]
    examples = WORDS if isinstance(head, TaggingHead) else sentences(["a", "b", "c"], [0, 1, 2])
    inputs = (encoded.hidden_BLD, encoded.mask_BL, FIRST_BW, logits)
    before = copy.deepcopy(inputs)
    head((encoded,), mean, FIRST_BW)
    head.decode(logits, FIRST_BW)
    head.describe(logits, FIRST_BW, examples)
    assert all(torch.equal(one, other) for one, other in zip(inputs, before, strict=True))


def test_labels_without_outside_are_refused() -> None:
    with pytest.raises(ValueError, match=r"needs the label 'O', got \['B-Actor', 'I-Actor'\]"):
        TaggingHead(WIDTH, ["B-Actor", "I-Actor"])


def test_the_constraints_are_no_state() -> None:
    assert set(tagger().state_dict()) == {"classifier.1.weight", "classifier.1.bias"}


def test_a_word_without_a_tag_is_in_no_gold_span() -> None:
    examples = tagged([(["in", "1987", "streep"], [IGNORED, 3, IGNORED])])
    assert tagger().describe_labels(examples) == [
        [{"text": "1987", "type": "Year", "start": 3, "end": 7}]
    ]
