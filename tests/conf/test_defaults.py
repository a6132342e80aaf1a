"""The defaults of a training, without an experiment."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from candelabra.config.plain_form import plain
from candelabra.config.schema import MOST_CHARACTERS, register
from candelabra.config.targets import conf_dir
from helpers.composing import composed


def test_without_an_experiment_a_run_is_the_quickstart(tmp_path: Path) -> None:
    usual = plain(composed([], tmp_path))
    quickstart = plain(composed(["experiment=quickstart"], tmp_path))
    assert usual.pop("group") == "sentiment_movie"
    assert quickstart.pop("group") == "quickstart"
    assert usual == quickstart


def test_tasks_alone_change_the_tasks_alone(tmp_path: Path) -> None:
    usual, imdb = plain(composed([], tmp_path)), plain(composed(["tasks=imdb"], tmp_path))
    assert {key for key in usual if usual[key] != imdb[key]} == {"tasks", "group"}


FOLDERS = {
    "sentiment_movie": [],
    "quickstart": ["experiment=quickstart", "tasks=stsb"],
    "sts": ["tasks=stsb"],
    "sentiment_movie_intent": ["+task@tasks.intent=banking77"],
    "no_tasks": ["tasks=none"],
    "___away": ["tasks=none", "+tasks={../away: {}}"],
    "t" * MOST_CHARACTERS + "_1": ["tasks=none", f"+task@tasks.{'t' * 300}=imdb"],
}


@pytest.mark.parametrize("name", FOLDERS)
def test_run_folder_is_named_after_the_experiment_or_the_tasks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    register()
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=FOLDERS[name], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    folder = OmegaConf.select(cfg, "hydra.run.dir")
    assert Path(folder).parts[:-1] == ("outputs", name)
