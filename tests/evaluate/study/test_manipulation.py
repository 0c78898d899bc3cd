"""The study of manipulations: its cells, what methods make of them, the numbers of the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forensics.config import load
from forensics.evaluate.study import manipulation
from forensics.evaluate.study.manipulation import (
    RECORDS,
    Cell,
    ManipulationStudy,
    abstain,
    evaluate_cell,
)
from forensics.evaluate.study.manipulation_plots import accuracy_figure
from forensics.evaluate.study.manipulation_summary import TABLE, lines, summarise, table
from forensics.manipulation.base import PatchNetwork
from forensics.manipulation.network import ResidualNetwork
from forensics.records import UserError
from forensics.train.manipulation.patches import Patches, Photo, cut
from forensics.train.manipulation.training import ManipulationTraining, TrainingSettings
from tests.manipulation.textures import texture

STUDY = ManipulationStudy(
    tasks=("blur-0.75", "noise-2"),
    patches_per_photo=(4,),
    test_patches_per_photo=6,
    window=40,
    residual=TrainingSettings(epochs=1),
    bayar=TrainingSettings(epochs=8, lr=3e-4, head_lr=3e-4),
)


@pytest.fixture(scope="module")
def photos() -> list[Patches]:
    """Two of each of three devices."""
    return [
        cut(
            [Photo(f"{n}", f"device {n // 2}", np.stack([texture(120, 120, seed=n)] * 3, 2))],
            STUDY.manipulations,
            STUDY.window,
        )
        for n in range(6)
    ]


@pytest.mark.parametrize("method", ["svm", "start", "residual", "bayar"])
def test_every_method_tells_what_is_easy(photos: list[Patches], method: Any) -> None:
    cell = Cell("noise-2", method, 4, seed=1)
    record = evaluate_cell(STUDY, cell, photos[:4], photos[4:])
    assert record.keys() == set(RECORDS.names)
    assert record["status"] == "ok", record["reason"]
    assert record["tested_on"] == ["device 2"]
    assert (record["training_patches"], record["test_patches"]) == (4 * 4 * 2, 2 * 6 * 2)
    assert record["accuracy"] == pytest.approx(
        (record["recall_pristine"] + record["recall_manipulated"]) / 2
    )
    assert 0.4 < record["auc"] <= 1
    if method != "bayar":
        assert record["accuracy"] > 0.9
        assert record["auc"] > 0.97
    assert record["seconds"] > 0


def test_the_auc_is_that_within_each_device() -> None:
    """One device's scores lie above all of the other's; one pair of the second is the wrong way."""
    labels, devices = np.array([0, 1] * 4), np.repeat(["a", "b"], 4)
    scores = np.array([8, 9, 8.5, 9.5, 1, 4, 3, 2], np.float32)
    test = Patches(np.zeros((8, 40, 40), np.uint8), labels, devices)
    assert manipulation._auc(scores, test) == pytest.approx((1 + 3 / 4) / 2)


def test_the_start_is_the_residual_network_without_an_epoch(
    photos: list[Patches], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Spy(ManipulationTraining):
        def finish(self) -> PatchNetwork:
            seen.append((type(self.network), len(self.history)))
            return super().finish()

    monkeypatch.setattr(manipulation, "ManipulationTraining", Spy)
    for method in ("start", "residual"):
        evaluate_cell(STUDY, Cell("blur-0.75", method, 4, 0), photos[:4], photos[4:])
    assert seen == [(ResidualNetwork, 0), (ResidualNetwork, 1)]


def test_the_seed_decides_which_patches(photos: list[Patches]) -> None:
    cell = Cell("blur-0.75", "svm", 4, seed=0)
    one, again = (evaluate_cell(STUDY, cell, photos[:4], photos[4:]) for _ in range(2))
    assert {**one, "seconds": 0} == {**again, "seconds": 0}


def test_what_a_method_cannot_learn_from_is_said(photos: list[Patches]) -> None:
    record = evaluate_cell(STUDY, Cell("noise-2", "svm", 4, 0), photos[:2], photos[4:])
    assert record["status"] == "not_applicable"
    assert "two devices" in record["reason"]
    failed = abstain(Cell("noise-2", "svm", 4, 0), MemoryError("no memory left"))
    assert (failed["status"], failed["reason"]) == ("failed", "no memory left")


def test_cells_are_all_combinations() -> None:
    study = load(
        ManipulationStudy,
        None,
        ["--tasks", "blur-0.50,jpeg-90,blur-0.5", "--methods", "svm,residual", "--seeds", "4,5"],
    )
    assert study.tasks == ("blur-0.5", "jpeg-90")
    cells = list(study.cells())
    assert len(cells) == len({cell.name for cell in cells}) == 2 * 2 * 2 * 2
    assert cells[0].name == "blur-0.5_svm_9_seed4"
    assert [cell.seed for cell in cells] == [4] * 8 + [5] * 8
    assert load(ManipulationStudy, None, ["--bayar.epochs", "8"]).bayar.lr == 1e-4
    with pytest.raises(UserError, match="is no manipulation"):
        load(ManipulationStudy, None, ["--tasks", "blurr-1"])


def record(task: str, method: str, seed: int, accuracy: float | None) -> dict[str, Any]:
    return {
        "task": task,
        "method": method,
        "patches_per_photo": 9,
        "seed": seed,
        "status": "ok" if accuracy is not None else "failed",
        "reason": None if accuracy is not None else "broken",
        "training_patches": 100,
        "test_patches": 50,
        "accuracy": accuracy,
        "auc": None if accuracy is None else accuracy / 2,
        "seconds": 2.0 * (seed + 1),
    }


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    found = [
        record("blur-0.5", "svm", 0, 0.80),
        record("blur-0.5", "residual", 0, 0.90),
        record("blur-0.5", "svm", 1, 0.84),
        record("blur-0.5", "residual", 1, 0.83),
        record("jpeg-90", "svm", 0, 0.70),
        record("jpeg-90", "residual", 0, 0.75),
        record("jpeg-90", "svm", 1, 0.60),
        record("jpeg-90", "residual", 1, None),
    ]
    return summarise(pa.Table.from_pylist(found, schema=RECORDS))


def test_accuracies_are_averaged_over_seeds(summary: dict[str, Any]) -> None:
    rows = table(summary).to_pylist()
    assert table(summary).schema.equals(TABLE)
    assert [(r["task"], r["method"], r["n"]) for r in rows] == [
        ("blur-0.5", "svm", 2),
        ("blur-0.5", "residual", 2),
        ("jpeg-90", "svm", 2),
        ("jpeg-90", "residual", 1),
    ]
    assert rows[0]["accuracy"] == pytest.approx(0.82)
    assert rows[0]["sd"] == pytest.approx(np.std([0.80, 0.84], ddof=1))
    assert rows[0]["auc"] == pytest.approx(0.41)
    assert rows[0]["seconds"] == pytest.approx(3.0)
    assert rows[3]["sd"] is None
    assert summary["status"] == {"failed": 1, "ok": 7}
    assert summary["reasons"] == {"broken": 1}


def test_methods_are_compared_on_the_same_devices(summary: dict[str, Any]) -> None:
    pairs = {pair["task"]: pair for pair in summary["pairs"]}
    assert {(pair["a"], pair["b"]) for pair in pairs.values()} == {("residual", "svm")}
    assert pairs["blur-0.5"]["difference"] == pytest.approx(0.045)
    assert (pairs["blur-0.5"]["n"], pairs["blur-0.5"]["better"]) == (2, 1)
    assert (pairs["jpeg-90"]["n"], pairs["jpeg-90"]["difference"]) == (1, pytest.approx(0.05))
    assert pairs[None]["difference"] == pytest.approx((0.10 - 0.01 + 0.05) / 3)


def test_the_table_for_people_and_the_figure(summary: dict[str, Any]) -> None:
    text = "\n".join(lines(summary))
    assert "SRM+SVM, 9" in text
    assert "82.00 ±2.83" in text
    assert "0.410" in text
    assert (
        "residual CNN over SRM+SVM, 9 per photo: +4.67 points on average, better in 2 of 3" in text
    )
    [axes] = accuracy_figure(summary).axes
    assert axes.get_title() == "9 patches per photo"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["blur-0.5", "jpeg-90"]
    assert accuracy_figure(summarise(RECORDS.empty_table())).axes
