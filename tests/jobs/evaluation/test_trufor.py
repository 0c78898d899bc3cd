"""The study of TruFor end to end, with a real Ray and a real MLflow, on a tiny network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from PIL import Image

from forensics.evaluate.study import trufor, trufor_summary
from forensics.evaluate.study.laundering import Laundering
from forensics.evaluate.study.trufor import TruForStudy
from forensics.manifest import write_manifest
from forensics.records import ManifestRow, UserError
from forensics.trufor.checkpoint import to_safetensors
from forensics.trufor.predictor import TruFor
from jobs.cluster import PoolSettings
from jobs.entry import INCOMPLETE, OK
from jobs.evaluate import evaluate
from jobs.evaluation.settings import EvaluateJob
from tests.evaluate.runs import write_mask
from tests.trufor.networks import tiny_network

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets of two forged and two pristine images, and two networks."""
    folder = tmp_path_factory.mktemp("case")
    rows = []
    for n in range(8):
        rgb = np.random.default_rng(n).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(rgb).save(folder / f"{n}.png")
        known = {"source": "AB"[n // 4], "label": ("forged", "pristine")[n % 2]}
        if n % 2 == 0:
            forged = np.zeros((48, 64), np.bool_)
            forged[8:40, 8:32] = True
            known["mask_uri"] = write_mask(folder / "masks" / f"{n}.png", forged)
        rows.append(ManifestRow(str(n), f"{n}.png", **known))
    write_manifest(rows, str(folder / "truth.parquet"))
    for seed, name in enumerate(("one", "two")):
        (folder / f"{name}.safetensors").write_bytes(to_safetensors(tiny_network(seed)))
    return folder


def job(case: Path, folder: Path, **changes: Any) -> EvaluateJob:
    values: dict[str, Any] = {
        "checkpoints": {name: str(case / f"{name}.safetensors") for name in ("one", "two")},
        "launderings": {"original": Laundering(), "small": Laundering(scale=0.75, jpeg_quality=80)},
        **changes,
    }
    return EvaluateJob(
        trufor=TruForStudy(**values),
        truth=str(case / "truth.parquet"),
        output=str(folder / "study"),
        pool=PoolSettings(workers=2),
    )


def test_data_sets_are_judged_by_every_network(
    case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(job(case, tmp_path)) == OK
    records = pq.read_table(tmp_path / "study" / "study.parquet")
    assert records.schema.equals(trufor.RECORDS)
    rows = records.to_pylist()
    assert len(rows) == 8 * 4
    first = TruFor.from_checkpoint(str(case / "one.safetensors"))
    expected = first.predict(np.asarray(Image.open(case / "0.png")))
    assert rows[0]["score"] == pytest.approx(expected.score, abs=1e-6)
    assert rows[0]["map_max"] == pytest.approx(float(expected.map.max()), abs=1e-5)

    summary = json.loads((tmp_path / "study" / "summary.json").read_text())
    assert summary["study"] == "trufor"
    assert summary["checkpoint.one"] == first.digest
    names = [variant["name"] for variant in summary["variants"]]
    assert names == ["one, original", "two, original", "one, small", "two, small"]
    for variant in summary["variants"]:
        assert variant["status"] == {"ok": 8}
        assert list(variant["sources"]) == ["A", "B", "average", "all"]
        counts = {n: variant["sources"]["A"][n] for n in ("masks", "forged", "pristine")}
        assert counts == {"masks": 2, "forged": 2, "pristine": 2}
    assert len(summary["pairs"]) == 4
    table = pq.read_table(tmp_path / "study" / "table.parquet")
    assert table.schema.equals(trufor_summary.TABLE)
    assert table.num_rows == 16

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("forensics/evaluate")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert run.data.tags["forensics.checkpoint.one"] == first.digest
    f1 = summary["variants"][0]["sources"]["average"]["f1_fixed"]
    assert run.data.metrics["f1_fixed.one_ original.average"] == pytest.approx(f1)
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert {path.name for path in artifacts.iterdir()} == {
        "summary.json", "table.json", "roc.png", "f1.png",
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "one, original over two, original: F1 fixed " in printed
    assert "all variants: ok 8" in printed


def test_a_broken_mask_costs_its_image_and_sets_the_exit_code(case: Path, tmp_path: Path) -> None:
    rows = pq.read_table(case / "truth.parquet").to_pylist()
    rows[0]["mask_uri"] = "gone.png"
    for row in rows:
        row["uri"] = str(case / row["uri"])
    write_manifest([ManifestRow(**row) for row in rows], str(tmp_path / "truth.parquet"))
    asked = job(case, tmp_path).model_copy(update={"truth": str(tmp_path / "truth.parquet")})
    assert evaluate(asked) == INCOMPLETE
    summary = json.loads((tmp_path / "study" / "summary.json").read_text())
    assert summary["variants"][0]["status"] == {"failed": 1, "ok": 7}


def test_what_is_no_checkpoint_is_refused_before_anything_is_written(
    case: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"truth\.parquet: it is no PyTorch"):
        evaluate(job(case, tmp_path, checkpoints={"odd": str(case / "truth.parquet")}))
    assert not list(tmp_path.iterdir())
