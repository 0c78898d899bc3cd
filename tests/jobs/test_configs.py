"""Every shipped YAML file is read by its job, and run: here the demo, and studies on its archive.

The files of one image archive's way are run by test_pipeline, those of trainings by the trainings'
own tests (of two, the one for a CPU).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forensics import manifest
from forensics.calibration.record import load_calibration
from forensics.config import Settings, load
from forensics.prnu.library import CameraLibrary
from forensics.records import ManifestRow, UserError
from forensics.run import load_document
from forensics.trufor.checkpoint import to_safetensors
from jobs.calibrate import CalibrateJob, make_calibration
from jobs.camera_model import CameraModelJob, camera_model
from jobs.demo import DemoJob, demo
from jobs.entry import OK
from jobs.evaluate import evaluate
from jobs.evaluation.settings import EvaluateJob
from jobs.fingerprint import FingerprintJob, fingerprint
from jobs.ingest import IngestJob, ingest
from jobs.make_forgeries import MakeForgeriesJob, make_forgeries
from jobs.report import ReportJob, report
from jobs.scan import ScanJob, scan
from jobs.train_manipulation import TrainManipulationJob, train_manipulation
from jobs.train_origin import TrainOriginJob, train_origin
from jobs.train_predictor import TrainPredictorJob, train_predictor
from jobs.train_trufor import TrainTruForJob, train_trufor
from tests.evaluate.study.archive import at_qualities, put_model
from tests.jobs.origin_images import SMALL as SMALL_ORIGIN
from tests.jobs.origin_images import origin_manifest
from tests.jobs.shipped import CONFIGS
from tests.jobs.test_pipeline import SETTINGS, check
from tests.trufor.networks import tiny_network

pytestmark = [pytest.mark.ray, pytest.mark.slow]

JOBS: dict[str, tuple[type[Settings], Callable[[Any], int]]] = {
    "ingest": (IngestJob, ingest),
    "fingerprint": (FingerprintJob, fingerprint),
    "camera_model": (CameraModelJob, camera_model),
    "train_predictor": (TrainPredictorJob, train_predictor),
    "train_predictor_cpu": (TrainPredictorJob, train_predictor),
    "make_forgeries": (MakeForgeriesJob, make_forgeries),
    "scan": (ScanJob, scan),
    "calibrate": (CalibrateJob, make_calibration),
    "evaluate": (EvaluateJob, evaluate),
    "report": (ReportJob, report),
    "demo": (DemoJob, demo),
}
QUALITIES = (100, 95, 90, 85, 80, 75)
STUDIES = {  # a table or figure of a paper -> how many variants it compares, on one predictor
    "predictors": 1,
    "decisions": 2,
    "jpeg": len(QUALITIES),
    "jpeg_retrained": len(QUALITIES),
    "scales": 8,
    "strategies": 4,
    "strategies_jpeg": 16,
}
JOBS |= {f"evaluate_{name}": (EvaluateJob, evaluate) for name in STUDIES}
TRUFOR = [f"train_trufor_{phase}{cpu}" for cpu in ("", "_cpu") for phase in (1, 2, 3)]
JOBS |= dict.fromkeys(TRUFOR, (TrainTruForJob, train_trufor))
MANIPULATION = ["train_manipulation", "train_manipulation_cpu"]
JOBS |= dict.fromkeys(MANIPULATION, (TrainManipulationJob, train_manipulation))
MANIPULATION_STUDIES = {"evaluate_manipulation": 4, "evaluate_manipulation_cpu": 3}  # methods
JOBS |= dict.fromkeys(MANIPULATION_STUDIES, (EvaluateJob, evaluate))
ORIGIN = ["train_origin", "train_origin_cpu"]
ORIGIN_STUDIES = {  # rows of the table
    "evaluate_origin": 8,
    "evaluate_origin_cpu": 8,
    "evaluate_origin_robustness": 80,
}
JOBS |= dict.fromkeys(ORIGIN, (TrainOriginJob, train_origin))
JOBS |= dict.fromkeys(ORIGIN_STUDIES, (EvaluateJob, evaluate))
TRUFOR_STUDIES = {  # tables of the paper -> variants
    "evaluate_trufor": 1,
    "evaluate_trufor_laundered": 2,
    "evaluate_trufor_ablations": 21,
}
JOBS |= dict.fromkeys(TRUFOR_STUDIES, (EvaluateJob, evaluate))


def settings(name: str, **changes: Any) -> Settings:
    """The settings of a shipped file, with other paths and sizes as a command line gives them."""
    words = [word for key, value in changes.items() for word in (f"--{key}", str(value))]
    return load(JOBS[name][0], CONFIGS[name], words)


def run(name: str, **changes: Any) -> int:
    return JOBS[name][1](settings(name, **changes))


def test_every_file_has_its_job_and_every_job_its_file() -> None:
    assert CONFIGS.keys() == JOBS.keys()
    assert {path.suffix for path in CONFIGS.values()} == {".yaml"}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_file_is_valid_as_it_is(name: str) -> None:
    loaded = settings(name)
    assert loaded.model_fields_set  # it says something


@pytest.fixture(scope="module")
def demonstrated(ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished demo of a tiny archive; do not change it."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    archive = {f"archive.{name}": value for name, value in SETTINGS.model_dump().items()}
    assert run("demo", folder=folder, **archive, **{"pool.workers": 2}) == OK
    return folder


def test_the_demo_finds_what_it_hid(demonstrated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(str(demonstrated / "archive"), str(demonstrated))
    assert load_document(str(demonstrated / "scan"))["state"] == "complete"


def test_a_folder_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "scan").mkdir()
    with pytest.raises(UserError, match="holds something that is not this demo's"):
        run("demo", folder=tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "scan"]


def test_a_calibration(demonstrated: Path, tmp_path: Path, store: str) -> None:
    output = tmp_path / "calibration.json"
    changes = {"rate": 0.5, "tracking.uri": store}
    assert run("calibrate", run=demonstrated / "scan", output=output, **changes) == OK
    assert list(load_calibration(str(output)).detectors) == ["prnu", "manipulation"]


def test_a_network_beside_the_demo_s_predictors(
    demonstrated: Path, tmp_path: Path, store: str
) -> None:
    shutil.copytree(demonstrated / "models", tmp_path / "models")
    before = next(iter(CameraLibrary(str(tmp_path / "models"))))
    small = {
        "training.epochs": 1,
        "training.lr": 1e-3,
        "blocks_per_image": 8,
        "network.widths": [2, 2, 2, 2, 2, 2],
        "network.hidden": 4,
        "pool.workers": 2,
    }
    code = run(
        "train_predictor_cpu",
        manifest=demonstrated / "training.parquet",
        models=tmp_path / "models",
        cameras=before.camera_id,
        **small,
        **{"tracking.uri": store},
    )
    assert code == OK
    model = CameraLibrary(str(tmp_path / "models")).model(before.camera_id)
    assert model.window(128, predictor="cnn").blocks >= 4 * 8
    assert model.window(128, predictor="lse").images == 4


@pytest.fixture(scope="module")
def forged(demonstrated: Path, tmp_path_factory: pytest.TempPathFactory, store: str) -> Path:
    """Forgeries of the demo's photos."""
    output = tmp_path_factory.mktemp("forged")
    small = {"crop": 64, "pool.workers": 2, "tracking.uri": store}
    photos = demonstrated / "training.parquet"
    assert run("make_forgeries", manifest=photos, output=output, **small) == OK
    return output


@pytest.mark.parametrize("name", TRUFOR_STUDIES)
def test_a_study_of_trufor(forged: Path, tmp_path: Path, store: str, name: str) -> None:
    loaded = settings(name)
    assert isinstance(loaded, EvaluateJob)
    assert loaded.trufor is not None
    network = tmp_path / "tiny.safetensors"
    network.write_bytes(to_safetensors(tiny_network()))
    changes = {
        "truth": forged / "truth.parquet",
        "output": tmp_path / "study",
        "tracking.uri": store,
        "pool.workers": 2,
        "trufor.checkpoints": json.dumps(dict.fromkeys(loaded.trufor.checkpoints, str(network))),
    }
    assert run(name, **changes) == OK
    variants = json.loads((tmp_path / "study" / "summary.json").read_text())["variants"]
    assert len(variants) == TRUFOR_STUDIES[name]
    assert all(variant["judged"] for variant in variants)


@pytest.fixture(scope="module")
def of_known_origin(ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    return origin_manifest(tmp_path_factory.mktemp("origin"))


@pytest.mark.parametrize("name", ORIGIN_STUDIES)
def test_a_study_of_the_origin(of_known_origin: str, tmp_path: Path, store: str, name: str) -> None:
    small = {**SMALL_ORIGIN, "training.epochs": 1, "folds": 2}
    changes = {
        "truth": of_known_origin,
        "output": tmp_path,
        "tracking.uri": store,
        "pool.workers": 2,
        **{f"origin.{setting}": value for setting, value in small.items()},
    }
    assert run(name, **changes) == OK
    rows = json.loads((tmp_path / "summary.json").read_text())["rows"]
    assert len(rows) == ORIGIN_STUDIES[name]


@pytest.mark.parametrize("name", MANIPULATION_STUDIES)
def test_a_study_of_manipulations(
    demonstrated: Path, tmp_path: Path, store: str, name: str
) -> None:
    rows = list(manifest.read(str(demonstrated / "training.parquet")))
    several = [replace(row, camera_id=f"{row.camera_id}-{n % 2}") for n, row in enumerate(rows)]
    manifest.write_manifest(several, str(tmp_path / "pristine.parquet"))
    small = {
        "patches_per_photo": "1,2",
        "test_patches_per_photo": 2,
        "tasks": "noise-2",
        "window": 40,
        "residual.epochs": 1,
        "bayar.epochs": 1,
    }
    changes = {
        "truth": tmp_path / "pristine.parquet",
        "output": tmp_path / "study",
        "tracking.uri": store,
        "pool.workers": 2,
        **{f"manipulation.{setting}": value for setting, value in small.items()},
    }
    assert run(name, **changes) == OK
    summary = json.loads((tmp_path / "study" / "summary.json").read_text())
    assert summary["status"] == {"ok": MANIPULATION_STUDIES[name] * 2 * 3}


@pytest.fixture(scope="module")
def models(demonstrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's camera models, as if their predictors had been trained for every quality too."""
    folder = tmp_path_factory.mktemp("qualities")
    library = CameraLibrary(str(demonstrated / "models"))
    for entry in library:
        model = library.model(entry.camera_id)
        put_model(folder, replace(model, windows=at_qualities(model.windows, QUALITIES)))
    return folder / "models"


@pytest.fixture(scope="module")
def truth(demonstrated: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The truth of three images of the demo: forged, pristine and neither."""
    rows = list(manifest.read(str(demonstrated / "archive" / "truth.parquet")))
    cameras = {entry.camera_id for entry in CameraLibrary(str(demonstrated / "models"))}
    few: list[ManifestRow] = []
    for label in ("forged", "pristine", None):
        few += [r for r in rows if r.label == label and (r.camera_id in cameras or not label)][:1]
    path = str(tmp_path_factory.mktemp("truth") / "truth.parquet")
    manifest.write_manifest(few, path)
    return path


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_of_each_file(
    truth: str, models: Path, tmp_path: Path, name: str, store: str
) -> None:
    kind = "prediction" if name == "predictors" else "localization"
    small = {"prediction": {"blocks_per_image": 20}, "localization": {"stride": 32}}[kind]
    changes = {
        "truth": truth,
        "output": tmp_path / "study",
        "tracking.uri": store,
        "pool.workers": 2,
        f"{kind}.camera_models": models,
        f"{kind}.predictors": "lse",
        **{f"{kind}.{setting}": value for setting, value in small.items()},
    }
    assert run(f"evaluate_{name}", **changes) == OK
    summary = json.loads((tmp_path / "study" / "summary.json").read_text())
    variants = summary["variants"]
    assert len(variants) == STUDIES[name]
    assert {sum(variant["status"].values()) for variant in variants} == {summary["truth"]["rows"]}
    assert all(variant["judged"] for variant in variants)
