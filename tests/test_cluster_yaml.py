"""The cluster file, by Ray's own schema."""

from __future__ import annotations

import re

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.conftest import ROOT

TEXT = (ROOT / "cluster.yaml").read_text(encoding="utf-8")


def test_ray_accepts_it() -> None:
    validate_config(prepare_config(yaml.safe_load(TEXT)))


def test_pools_and_pins_are_those_of_the_project() -> None:
    config = yaml.safe_load(TEXT)
    kinds = config["available_node_types"]
    assert {"head", "cpu", "gpu"} == set(kinds)
    assert kinds["gpu"]["resources"]["GPU"] == 1
    assert "spot" in str(kinds["cpu"]["node_config"])
    for text in (TEXT, (ROOT / "pyproject.toml").read_text(encoding="utf-8")):
        assert "ray[data,default,train]==2.60.*" in text


def test_the_head_does_not_work() -> None:
    config = yaml.safe_load(TEXT)
    assert config["available_node_types"][config["head_node_type"]]["resources"]["CPU"] == 0
    [start] = [line for line in config["head_start_ray_commands"] if "ray start" in line]
    assert "--num-cpus=0 " in start


def test_every_node_asks_for_the_token_that_it_is_given() -> None:
    config = yaml.safe_load(TEXT)
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    starts = [line for line in commands if "ray start" in line]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token " in line.partition("ray start")[0] for line in starts)
    home = f"/home/{config['auth']['ssh_user']}"
    assert config["file_mounts"][f"{home}/.ray/auth_token"] == "~/.ray/auth_token"


def test_it_holds_no_secret_and_opens_no_port() -> None:
    assert not re.search(r"AKIA|aws_secret|password|BEGIN .*KEY", TEXT, re.IGNORECASE)
    assert "--dashboard-host=127.0.0.1" in TEXT
    assert "0.0.0.0" not in TEXT
