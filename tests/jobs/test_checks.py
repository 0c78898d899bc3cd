"""What is looked at before a scan, one by one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from forensics.lease import Lease
from forensics.limits import Limits
from forensics.records import ManifestRow, UserError
from forensics.scan import ScanSettings, build_detectors
from jobs import checks
from jobs.checks import Check, Node, State
from tests.images import noise_jpeg, write_images
from tests.saboteur import NAME
from tests.test_run import INPUTS, begin, commit


def test_an_output_that_can_be_written_stays_as_it_was(tmp_path: Path) -> None:
    state, text = checks.output(str(tmp_path / "run"))
    assert (state, "no other job" in text) == (State.OK, True)
    assert not list((tmp_path / "run").iterdir())


def test_an_output_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        checks.output(str(tmp_path / "file" / "run"))


def test_mlflow_that_does_not_answer_is_said(tmp_path: Path) -> None:
    assert checks.tracking(f"sqlite:///{tmp_path / 'm.db'}")[0] is State.OK
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="does not answer"):
        checks.tracking(f"sqlite:///{tmp_path}/file/m.db")


@pytest.mark.parametrize(
    ("wanted", "gpus", "names", "state"),
    [
        ("auto", 2.0, ["trufor"], State.OK),
        ("auto", 0.0, ["camera", "prnu"], State.OK),
        ("auto", 0.0, ["camera", "trufor"], State.WARNING),
        ("cuda", 0.0, ["camera"], State.BAD),
    ],
)
def test_a_gpu_is_missed_where_it_is_wanted(
    wanted: str, gpus: float, names: list[str], state: State
) -> None:
    assert checks.device(wanted, gpus, names)[0] is state


def test_the_largest_image_is_held_against_the_limits(tmp_path: Path) -> None:
    rows = write_images(tmp_path, ["a", "b"])
    (tmp_path / "big.jpg").write_bytes(noise_jpeg(3, 40, 64))
    (tmp_path / "no.jpg").write_bytes(b"no image")
    rows += [ManifestRow("big", str(tmp_path / "big.jpg")), ManifestRow("no", str(tmp_path / "no"))]
    detectors = build_detectors(ScanSettings(detectors=(NAME,)), torch.device("cpu"))
    needed, (state, _) = checks.largest(rows, detectors, Limits(), complete=True)
    assert (needed, state) == (100 * 64 * 40, State.OK)
    needed, (state, text) = checks.largest(rows, detectors, Limits(memory_gib=1e-4), complete=True)
    assert state is State.WARNING
    assert needed == 1e-4 * 2**30  # no worker is given more
    assert "64x40" in text
    assert "Raise the limit" in text
    _, (state, text) = checks.largest(rows, detectors, Limits(max_megapixels=0.002), complete=True)
    assert "max_megapixels" in text
    assert checks.largest(rows[3:], detectors, Limits(), complete=True)[1][0] is State.WARNING
    _, (state, text) = checks.largest(rows, detectors, Limits(), complete=False)
    assert state is State.WARNING
    assert "there may be larger images (jobs.ingest writes sizes)" in text


def test_workers_that_need_more_than_a_node_has_are_said() -> None:
    large, small, none = Node(16 * 2**30, 8), Node(3 * 2**30, 4), Node(2**30, 0)
    assert checks.memory(2**30, 8, [large, none])[0] is State.OK
    assert checks.memory(2**30, 3, [large, small])[0] is State.OK
    state, text = checks.memory(2**30, 8, [large, small, none])
    assert state is State.WARNING
    assert "the 4 of a node 4.0; it has 3.0" in text
    assert checks.memory(4 * 2**30, 1, [small])[0] is State.WARNING


def test_lines_hold_no_secret() -> None:
    line = str(Check("tracking", State.OK, "MLflow at http://me:hunter2@host answers"))
    assert "hunter2" not in line


def test_a_run_in_the_output_is_held_against_the_scan(tmp_path: Path) -> None:
    assert checks.run(str(tmp_path / "run"), INPUTS)[0] is State.OK
    run = begin(tmp_path)
    commit(run, 1)
    state, text = checks.run(run.uri, INPUTS)
    assert state is State.OK
    assert "(running, 1 of 3 shards done)" in text
    state, text = checks.run(run.uri, {**INPUTS, "settings.prnu.window": 64})
    assert state is State.BAD
    assert "settings.prnu.window: 128 there, 64 now" in text


def test_an_output_that_another_job_writes_to_is_said(tmp_path: Path) -> None:
    with Lease(str(tmp_path / "run")):
        state, text = checks.output(str(tmp_path / "run"))
    assert state is State.BAD
    assert f"by another job (process {os.getpid()} on" in text
