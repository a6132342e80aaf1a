"""What a frozen encoder gives is computed once, and a run with it equals one without."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from candelabra.data import feature_files
from candelabra.data.feature_files import FeatureFiles
from candelabra.files import checksum
from candelabra.model.encoder import Encoder
from candelabra.model.freeze.base import Scheme
from candelabra.model.freeze.constant import FreezeLowerLayers, FreezeNothing
from candelabra.model.freeze.scheduled import Gradual, LinearProbeThenFinetune
from candelabra.model.layer_mix import LayerMix
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.pooling import FIXED, AttentionPooling, FunctionPooling, mean
from candelabra.records import Encoded
from candelabra.training.callbacks.checkpoints import AtomicCheckpointIO
from helpers.foreign_heads import OwnHead
from helpers.frozen import featured, fit, frozen_model
from helpers.full_disks import full_disk
from helpers.toys import LABELS, Splits, difference, sgd, toy_data, toy_module, toy_trainer
from helpers.two_ranks import EveryStep

pytestmark = pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # frozen parts are


@pytest.fixture(autouse=True)
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The device of each pass through the backbone of any encoder."""
    counted: list[str] = []
    choose = Encoder._choose_attention

    def counting(encoder: Encoder, device: str) -> str:
        counted.append(device)
        return choose(encoder, device)

    monkeypatch.setattr(Encoder, "_choose_attention", counting)
    return counted


def pooled(splits: Splits) -> dict[str, bool]:
    """Task -> whether one vector of each text is stored, for the tasks with features."""
    return {
        task: parts["train"].features.columns[0].starts is None
        for task, parts in splits.items()
        if parts["train"].features is not None
    }


def keys(folder: Path) -> set[str]:
    return {entry.path.name for entry in FeatureFiles(folder / "features", None).entries()}


@pytest.mark.parametrize("pooling", FIXED)
def test_a_run_with_float32_features_equals_one_without(
    toys: Splits, pooling: str, tmp_path: Path, passes: list[str]
) -> None:
    new_model = partial(frozen_model, pooling=FunctionPooling(FIXED[pooling]))
    plain = fit(toys, new_model())
    passes.clear()
    model = new_model()
    splits = featured(toys, model, tmp_path)
    assert pooled(splits) == {"mood": True, "who": False}
    assert len(passes) == 6  # one batch for each task and split
    stored = fit(splits, model)
    assert len(passes) == 6
    assert difference(plain, stored) < 1e-6
    assert stored.scores == pytest.approx(plain.scores)


def test_features_are_computed_once_for_all_fixed_poolings(
    toys: Splits, tmp_path: Path, passes: list[str]
) -> None:
    featured(toys, frozen_model(), tmp_path)
    before = keys(tmp_path)
    passes.clear()
    for pooling in FIXED.values():
        featured(toys, frozen_model(pooling=FunctionPooling(pooling)), tmp_path)
    assert not passes
    assert keys(tmp_path) == before


def test_half_precision_differs_by_rounding(toys: Splits, tmp_path: Path) -> None:
    model = frozen_model()
    splits = featured(toys, model, tmp_path, feature_cache="half")
    stored, plain = fit(splits, model), fit(toys, frozen_model())
    assert 0 < difference(stored, plain) < 2e-2


def other_weight(model: MultiTaskModel) -> None:
    with torch.no_grad():
        next(model.encoder.parameters())[0, 0] += 1e-3


def other_config(model: MultiTaskModel) -> None:
    model.encoder.backbone.config.layer_norm_eps *= 2


@pytest.mark.parametrize("change", [other_weight, other_config])
def test_another_encoder_has_other_features(
    toys: Splits, change: Callable[[MultiTaskModel], None], tmp_path: Path
) -> None:
    featured(toys, frozen_model(), tmp_path)
    model = frozen_model()
    change(model)
    featured(toys, model, tmp_path)
    assert len(keys(tmp_path)) == 12


def test_a_changed_row_is_encoded_again(toys: Splits, tmp_path: Path, passes: list[str]) -> None:
    featured(toys, frozen_model(), tmp_path)
    passes.clear()
    train = toys["mood"]["train"]
    (text,) = train.texts
    ids = text.ids.copy()
    ids[3] += 1
    changed = replace(train, texts=(replace(text, ids=ids),))
    featured({**toys, "mood": {**toys["mood"], "train": changed}}, frozen_model(), tmp_path)
    assert len(passes) == 1
    assert len(keys(tmp_path)) == 7


def test_damaged_features_are_computed_again(
    toys: Splits, tmp_path: Path, passes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    featured(toys, frozen_model(), tmp_path)
    for file in tmp_path.rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    passes.clear()
    with caplog.at_level(logging.WARNING):
        splits = featured(toys, frozen_model(), tmp_path)
    assert len({one.getMessage() for one in caplog.records if "damaged" in one.getMessage()}) == 6
    assert (len(passes), len(pooled(splits))) == (6, 2)


def test_files_of_others_are_checked_and_own_ones_are_not(
    toys: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Path] = []

    def checking(path: Path) -> str:
        checked.append(path)
        return checksum(path)

    monkeypatch.setattr(feature_files, "checksum", checking)
    for num_checked in (0, 6):
        featured(toys, frozen_model(), tmp_path)
        assert sum(path.exists() for path in checked) == num_checked  # the others were drafts


def test_without_room_the_run_goes_on(
    toys: Splits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        with full_disk(2000):
            assert not pooled(featured(toys, frozen_model(), tmp_path))
        paths = {"cache_dir": str(tmp_path), "feature_cache_gb": 1e-6}
        assert not pooled(featured(toys, frozen_model(), tmp_path, paths=paths))
    assert "the features of mood.train cannot be kept: [Errno 27]" in caplog.text
    assert "more than paths.feature_cache_gb=1e-06: not kept" in caplog.text
    assert not keys(tmp_path)


def test_large_numbers_are_kept_in_float32(
    toys: Splits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    forward = Encoder.forward

    def larger(encoder: Encoder, tokens: Tensor, **kwargs: bool) -> Encoded:
        text = forward(encoder, tokens, **kwargs)  # type: ignore[arg-type]
        return replace(text, hidden_BLD=text.hidden_BLD * 1e6)

    monkeypatch.setattr(Encoder, "forward", larger)
    splits = featured(toys, frozen_model(), tmp_path, feature_cache="half")
    features = splits["who"]["train"].features
    assert features is not None
    assert features.columns[0].values.dtype == "float32"
    assert "kept in float32" in caplog.text


def test_what_the_run_reads_in_part_is_not_computed(toys: Splits, tmp_path: Path) -> None:
    trainer = {"limit_val_batches": 1, "limit_test_batches": 0.5}
    splits = featured(toys, frozen_model(), tmp_path, trainer=trainer)
    assert len(keys(tmp_path)) == 2
    assert splits["mood"]["validation"].features is None
    featured(toys, frozen_model(), tmp_path, test=False)
    assert len(keys(tmp_path)) == 4
    featured(toys, frozen_model(), tmp_path)
    splits = featured(toys, frozen_model(), tmp_path, trainer=trainer)
    assert splits["mood"]["validation"].features is not None  # it is there anyway


def test_what_needs_more_than_a_fixed_pooling_gets_tokens_or_nothing(
    toys: Splits, tmp_path: Path
) -> None:
    learned = frozen_model(poolings={"mood": AttentionPooling(16)})
    assert pooled(featured(toys, learned, tmp_path)) == {"mood": False, "who": False}
    own = FunctionPooling(lambda hidden_BLD, mask_BL: mean(hidden_BLD, mask_BL))
    assert pooled(featured(toys, frozen_model(pooling=own), tmp_path))["mood"] is False
    foreign = frozen_model()
    foreign.heads["mood"] = OwnHead(16, LABELS["mood"])
    assert pooled(featured(toys, foreign, tmp_path))["mood"] is False
    assert pooled(featured(toys, frozen_model(), tmp_path, distill_frozen=1.0))["mood"] is False
    mixed = frozen_model(mixes={"mood": LayerMix(3)})
    assert pooled(featured(toys, mixed, tmp_path)) == {"who": False}


def test_nothing_is_kept_without_a_frozen_encoder_or_a_cache(toys: Splits, tmp_path: Path) -> None:
    assert not pooled(featured(toys, frozen_model(FreezeNothing()), tmp_path))
    assert not pooled(featured(toys, frozen_model(), tmp_path, feature_cache=None))
    paths = {"cache_dir": None, "feature_cache_gb": None}
    assert not pooled(featured(toys, frozen_model(), tmp_path, paths=paths))
    assert not list(tmp_path.iterdir())


def test_features_of_other_weights_are_not_used(
    toys: Splits, tmp_path: Path, passes: list[str]
) -> None:
    model = frozen_model()
    splits = featured(toys, model, tmp_path)
    other_weight(model)
    expected = frozen_model()
    other_weight(expected)
    passes.clear()
    assert difference(fit(splits, model), fit(toys, expected)) < 1e-6
    assert len(passes) > 20


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")  # the sampler is resumable
def test_a_resumed_run_ends_with_the_same_bytes(toys: Splits, tmp_path: Path) -> None:
    ends = []
    for start in (None, tmp_path / "0" / "5.ckpt"):
        model = frozen_model()
        splits = featured(toys, model, tmp_path)
        folder = tmp_path / str(len(ends))
        trainer = toy_trainer(
            callbacks=[EveryStep(folder)],
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=True,
            max_epochs=2,
        )
        module, data = toy_module(model), toy_data(splits)
        trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
        ends.append(module)
    assert difference(*ends) == 0


@pytest.mark.parametrize(
    "scheme",
    [
        FreezeLowerLayers(num_layers=1),
        LinearProbeThenFinetune(probe_epochs=1.0, warmup_steps=0),
        Gradual(epochs_per_group=1.0, warmup_steps=0),
    ],
    ids=lambda scheme: type(scheme).__name__,
)
def test_part_of_the_encoder_or_of_the_run_may_be_frozen(
    toys: Splits, scheme: Scheme, tmp_path: Path, passes: list[str]
) -> None:
    plain = fit(toys, frozen_model(scheme), optimizer=sgd)  # in SGD rounding stays small
    passes.clear()
    model = frozen_model(scheme)
    splits = featured(toys, model, tmp_path, num_epochs=2)
    thaws = not isinstance(scheme, FreezeLowerLayers)
    assert pooled(splits) == {"mood": thaws, "who": False}
    assert (splits["mood"]["test"].features is None) == thaws
    num_computed = len(passes)
    stored = fit(splits, model, optimizer=sgd)
    assert difference(plain, stored) < 1e-5
    assert stored.scores == pytest.approx(plain.scores)
    if thaws:
        assert model.encoder.prefix is not None
        assert not model.encoder.prefix.live
        # Those of the second epoch: one for both tasks of a step, and its validation.
        assert len(passes) - num_computed == 13


def test_features_of_one_task_alone_change_nothing(toys: Splits, tmp_path: Path) -> None:
    plain, model = (frozen_model(FreezeLowerLayers(num_layers=1)) for _ in range(2))
    mood = featured(toys, model, tmp_path, num_epochs=2)["mood"]
    assert mood["train"].features is not None
    runs = fit(toys, plain, optimizer=sgd), fit({**toys, "mood": mood}, model, optimizer=sgd)
    assert difference(*runs) < 1e-5


def test_what_thaws_before_a_split_is_read_is_not_computed(toys: Splits, tmp_path: Path) -> None:
    model = frozen_model(LinearProbeThenFinetune(probe_epochs=0.5))
    assert not pooled(featured(toys, model, tmp_path))
