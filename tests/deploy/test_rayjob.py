"""The RayJob and its image agree with the project; the operator itself is not run here."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any

import yaml

from jobs.entry import settings_from
from jobs.scan import ScanJob
from tests.conftest import ROOT

TEXT = (ROOT / "deploy" / "rayjob.yaml").read_text(encoding="utf-8")
JOB = yaml.safe_load(TEXT)["spec"]
CLUSTER = JOB["rayClusterSpec"]
IMAGE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")


def groups() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]
    return found


def containers() -> list[dict[str, Any]]:
    return [one for group in groups() for one in group["template"]["spec"]["containers"]]


def test_versions_are_those_of_the_project() -> None:
    assert CLUSTER["rayVersion"] == version("ray")
    [image] = {container["image"] for container in containers()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert image.endswith(f"forensics:{project['version']}")
    assert image.partition("/")[2] in IMAGE


def test_the_entrypoint_is_a_scan_with_settings_that_exist() -> None:
    python, flag, module, *arguments = shlex.split(JOB["entrypoint"])
    assert (python, flag, module) == ("python", "-m", "jobs.scan")
    at = arguments.index("--config") + 1
    config = PurePosixPath(arguments[at])
    assert f"WORKDIR {config.parent.parent}" in IMAGE
    arguments[at] = str(ROOT / config.relative_to(config.parent.parent))
    job = settings_from(ScanJob, arguments)
    assert job.output == "s3://bucket/scan"


def test_pods_get_what_they_ask_for_and_workers_live_on_spot() -> None:
    for container in containers():
        assert container["resources"]["requests"] == container["resources"]["limits"]
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"  # it does not work
    assert CLUSTER["enableInTreeAutoscaling"] is True
    # nodes that were started for a pool are let go before its workers are there
    assert CLUSTER["autoscalerOptions"]["idleTimeoutSeconds"] >= 600
    cpu, gpu = CLUSTER["workerGroupSpecs"]
    for group in (cpu, gpu):
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert "forensics/spot" in str(group["template"]["spec"]["tolerations"])
    assert cpu["replicas"] > 0  # a pool that is not stated is sized by the nodes that are up
    [worker] = gpu["template"]["spec"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_it_holds_no_secret_and_asks_for_a_token() -> None:
    assert CLUSTER["authOptions"] == {"mode": "token"}
    assert not re.search(r"(?i)secret_?key|password|AKIA|token:", TEXT)
    assert "USER ray" in IMAGE.splitlines()  # not root


def test_the_image_holds_all_that_is_imported_and_pins_it() -> None:
    copied = set(re.findall(r"^COPY (\w+) ", IMAGE, re.MULTILINE))
    assert copied == {"forensics", "jobs", "configs"}
    assert "--constraint constraints.txt" in IMAGE
