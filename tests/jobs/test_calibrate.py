"""From pristine photos of simulated cameras to a scan that keeps to its budget of false alarms."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from forensics import manifest
from forensics.calibration.record import Calibration, load_calibration
from forensics.prnu.localization import PrnuSettings
from forensics.records import UserError
from forensics.report.build import build_review
from forensics.run import load_document, load_run
from forensics.synth import ArchiveSettings, make_archive
from jobs.calibrate import CalibrateJob, make_calibration
from jobs.camera_model import CameraModelJob, camera_model
from jobs.cluster import PoolSettings
from jobs.fingerprint import FingerprintJob, fingerprint
from jobs.report import ReportJob, report
from jobs.scan import ScanJob, scan
from jobs.tracking import TrackingSettings
from tests.jobs.runs import report_rows
from tests.report.test_build import embedded

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SETTINGS = ArchiveSettings(
    cameras=2,
    width=256,
    height=192,
    reference_images=6,
    training_images=5,
    archive_images=150,
    forged_fraction=0.0,
    seed=11,
)
DETECTORS = ("prnu", "manipulation")
PRNU = PrnuSettings(strategy="sw-ss", decision="stm")
RATE = 0.1
LEARNED = 3  # photos of the camera models among those to be calibrated with


@dataclass(frozen=True)
class Case:
    """Where everything is."""

    folder: Path
    common: Mapping[str, Any]

    def job(self, images: str, output: str | None = None, **changes: Any) -> ScanJob:
        values = {
            "manifest": str(self.folder / f"{images}.parquet"),
            "output": str(self.folder / (output or images)),
            "camera_models": str(self.folder / "models"),
            "detectors": DETECTORS,
            "prnu": PRNU,
            "shard_rows": 16,
            **self.common,
            **changes,
        }
        return ScanJob(**values)

    @property
    def file(self) -> str:
        return str(self.folder / "calibration.json")

    def calibration(self) -> Calibration:
        return load_calibration(self.file)


@pytest.fixture(scope="module")
def case(ray_local: None, store: str, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Half of the pristine photos calibrated with, the other half scanned; do not change it."""
    folder = tmp_path_factory.mktemp("calibrated")
    archive = folder / "archive"
    make_archive(archive, SETTINGS)
    common = {"pool": PoolSettings(workers=2), "tracking": TrackingSettings(uri=store)}
    models = str(folder / "models")
    references, training = str(archive / "reference.parquet"), str(archive / "training.parquet")
    assert fingerprint(FingerprintJob(manifest=references, output=models, **common)) == 0
    assert camera_model(CameraModelJob(manifest=training, models=models, **common)) == 0
    photos = [r for r in manifest.read(str(archive / "truth.parquet")) if r.label == "pristine"]
    assert len(photos) == SETTINGS.archive_images
    learned = list(manifest.read(training))[:LEARNED]
    manifest.write_manifest([*photos[::2], *learned], str(folder / "pristine.parquet"))
    manifest.write_manifest(photos[1::2], str(folder / "held-out.parquet"))
    made = Case(folder, common)
    assert scan(made.job("pristine")) == 0
    job = CalibrateJob(
        run=str(folder / "pristine"), output=made.file, rate=RATE, tracking=common["tracking"]
    )
    assert make_calibration(job) == 0
    assert scan(made.job("held-out", calibration=made.file)) == 0
    return made


def test_the_budget_is_met_on_photos_that_were_held_out(case: Case) -> None:
    flags = load_document(str(case.folder / "held-out"))["counts"]["flags"]
    for found in (flags["images"], *flags["detectors"].values()):
        assert found["low"] <= found["flagged"] <= found["high"] < found["scored"] / 2, found
        assert found["expected"] <= RATE * found["scored"]
    assert flags["images"]["scored"] == 75
    assert 0 < flags["detectors"]["prnu"]["scored"] < 75  # strangers have no fingerprint


def test_the_calibration_says_what_it_is_of(case: Case) -> None:
    calibration = case.calibration()
    assert (calibration.images, calibration.learned, calibration.copies) == (75, LEARNED, 0)
    assert list(calibration.detectors) == list(DETECTORS)
    prnu, whole = (calibration.detectors[name] for name in DETECTORS)
    assert prnu.abstained > 0 == prnu.failed
    assert prnu.pristine + prnu.abstained == whole.pristine == 75
    assert prnu.holds_for["settings.prnu.strategy"] == "sw-ss"
    assert prnu.rate == whole.rate == RATE / 2
    for known in calibration.detectors.values():
        assert known.rate_low <= known.rank / (known.pristine + 1) <= known.rate_high


def test_rows_state_the_share_of_pristine_images(case: Case) -> None:
    """Recomputed from the rows of the pristine scan, without the calibration."""
    known = [r for r in report_rows(case.folder / "pristine") if "training" not in r["uri"]]
    rows = report_rows(case.folder / "held-out")
    assert len(known) == len(rows) == 75
    for name in DETECTORS:
        pristine = [r[name]["score"] for r in known if r[name]["score"] is not None]
        for row in rows:
            score, share = row[name]["score"], row[name]["pristine_higher"]
            if score is None:
                assert (share, row[name]["flagged"]) == (None, None)
                continue
            assert share == (1 + sum(s >= score for s in pristine)) / (1 + len(pristine))
            assert row[name]["flagged"] == (share <= RATE / 2)
    assert "pristine_higher" not in known[0]["prnu"]


def test_the_page_is_in_the_order_of_rarity(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run(str(case.folder / "held-out"))
    flags = load_document(run.uri)["counts"]["flags"]
    review = build_review(run, pictures=2)
    data = embedded(review)
    shares = [row["share"] for row in data["rows"]]
    assert shares == sorted(shares)
    assert data["flagged"] == sum(row["flagged"] for row in data["rows"])
    assert data["flagged"] == flags["images"]["flagged"]
    assert data["counts"] == {"ok": 75}
    assert flags["sentence"] in review.page
    assert "rarest first" in review.page
    plain = build_review(load_run(str(case.folder / "pristine")), pictures=0)
    assert embedded(plain)["flagged"] is None
    scores = [row["score"] for row in embedded(plain)["rows"]]
    assert scores == sorted(scores, reverse=True)
    assert "highest score first" in plain.page
    assert report(ReportJob(run=run.uri, pictures=0)) == 0
    assert flags["sentence"] in Path(run.uri, "page.html").read_text(encoding="utf-8")


def test_mlflow_has_counts_thresholds_and_the_file(case: Case) -> None:
    client = MlflowClient(case.common["tracking"].uri)
    flags = load_document(str(case.folder / "held-out"))["counts"]["flags"]

    def runs(job: str) -> list[Any]:
        experiment = client.get_experiment_by_name(f"forensics/{job}")
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id]))

    [made] = runs("calibrate")
    prnu = case.calibration().detectors["prnu"]
    assert made.data.metrics["prnu.threshold"] == prnu.threshold
    assert made.data.metrics["prnu.abstained"] == prnu.abstained
    assert made.data.params["rate"] == "0.1"
    [scanned] = [run for run in runs("scan") if run.data.params["calibration"] != "None"]
    assert scanned.data.metrics["flags.flagged"] == flags["images"]["flagged"]
    assert scanned.data.metrics["flags.high"] == flags["images"]["high"]
    assert scanned.data.metrics["flags.prnu.threshold"] == prnu.threshold
    assert flags["sentence"] in html.unescape(scanned.data.tags["mlflow.note.content"])
    for run in (made, scanned):
        path = client.download_artifacts(run.info.run_id, "calibration.json")
        assert Calibration.model_validate_json(Path(path).read_text()) == case.calibration()


def test_other_settings_are_refused_before_anything_is_done(case: Case) -> None:
    other = PRNU.model_copy(update={"stride": 16})
    job = case.job("held-out", "refused", prnu=other, calibration=case.file)
    with pytest.raises(UserError, match=r"settings\.prnu\.stride: 8 then, 16 now"):
        scan(job)
    assert not (case.folder / "refused" / "run.json").exists()


def test_another_calibration_is_another_run(case: Case, tmp_path: Path) -> None:
    changed = json.loads(case.calibration().model_dump_json()) | {"confidence": 0.5}
    file = tmp_path / "other.json"
    file.write_text(json.dumps(changed))
    with pytest.raises(UserError, match="holds a run with other inputs"):
        scan(case.job("held-out", calibration=str(file)))
    with pytest.raises(UserError, match="holds a run with other inputs"):
        scan(case.job("held-out"))


def test_a_scan_that_is_continued_has_the_same_marks(case: Case, tmp_path: Path) -> None:
    few = list(manifest.read(str(case.folder / "held-out.parquet")))[:20]
    manifest.write_manifest(few, str(tmp_path / "few.parquet"))
    job = case.job("held-out", calibration=case.file).model_copy(
        update={"manifest": str(tmp_path / "few.parquet"), "output": str(tmp_path / "run")}
    )
    assert scan(job) == 0
    whole = report_rows(job.output)
    flags = load_document(job.output)["counts"]["flags"]
    run = load_run(job.output)
    Path(run.report_uri(1)).unlink()
    assert scan(job) == 0
    assert report_rows(job.output) == whole
    assert load_document(job.output)["counts"]["flags"] == flags
    assert any(row["manipulation"]["pristine_higher"] is not None for row in whole)


def test_too_few_images_are_refused(case: Case, tmp_path: Path) -> None:
    job = CalibrateJob(
        run=str(case.folder / "pristine"),
        output=str(tmp_path / "calibration.json"),
        rate=0.001,
        tracking=case.common["tracking"],
    )
    with pytest.raises(UserError, match=r"needs 1999 images with a score, prnu has \d+"):
        make_calibration(job)
    assert not (tmp_path / "calibration.json").exists()
