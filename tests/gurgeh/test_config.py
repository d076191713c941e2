"""The run's own configuration: every setting documented, every file in configs/ valid, resolved and read back equal."""

from pathlib import Path

import pytest

from gurgeh.config import RunConfig
from gurgeh.configure import ConfigError, dump_yaml, from_dict, load_config, parse_yaml, to_dict
from gurgeh.settings import describe

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))


def test_every_setting_is_documented():
    undocumented = [setting.key for setting in describe(RunConfig) if not setting.doc.endswith((".", ")"))]
    assert not undocumented, f"write a sentence under the field: {undocumented}"


def test_defaults_come_back_equal():
    config = RunConfig()
    assert from_dict(RunConfig, parse_yaml(dump_yaml(to_dict(config)))) == config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_files_are_valid(path):
    config = load_config(RunConfig, path)
    assert from_dict(RunConfig, parse_yaml(dump_yaml(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("games=[]", "games is empty"),
        ("games=tictactoe,tictactoe", "tictactoe twice"),
        ("threads=0", "threads must be at least 1, found 0"),
        ("monitor.small_size=99999", r"^monitor: the validation subsets are nested"),
        ("learner.learning_rate_of_what=1", "unknown key 'learner.learning_rate_of_what'"),
    ],
)
def test_values_that_make_no_run(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(RunConfig, None, [override])
