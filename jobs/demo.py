"""The whole pipeline on a simulated archive, from its files to its evaluation.

make scan
python -m jobs.demo --config configs/demo.yaml
python -m jobs.demo --config configs/demo.yaml --archive.archive_images 200
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from forensics.config import Settings, digest
from forensics.records import UserError
from forensics.synth import ArchiveSettings, make_archive
from jobs.camera_model import CameraModelJob, camera_model
from jobs.cluster import PoolSettings, connected
from jobs.entry import OK, run_job
from jobs.evaluate import evaluate
from jobs.evaluation.settings import EvaluateJob
from jobs.fingerprint import FingerprintJob, fingerprint
from jobs.ingest import IngestJob, ingest
from jobs.scan import ScanJob, scan
from jobs.tracking import TrackingSettings, store_uri

T = TypeVar("T")


class DemoJob(Settings):
    """The demo: where it goes, what archive it simulates."""

    folder: str = Field("demo", description="folder for everything the demo writes")
    archive: ArchiveSettings = ArchiveSettings()
    detectors: tuple[str, ...] = Field(
        ("camera", "prnu", "manipulation"), description="detectors to run, in order"
    )
    pool: PoolSettings = PoolSettings()


def demo(job: DemoJob) -> int:
    """Run all steps; returns the first exit code that is not 0."""
    folder = Path(job.folder).resolve()
    archive = _step("simulating the archive", lambda: _archive(folder, job.archive))
    for name in ("models", "scan"):  # made anew each time, so that the demo always shows this code
        shutil.rmtree(folder / name, ignore_errors=True)
    tracking = TrackingSettings(uri=f"sqlite:///{folder / 'mlflow.db'}")
    common: dict[str, Any] = {"pool": job.pool, "tracking": tracking}
    manifests = {
        name: str(folder / f"{name}.parquet") for name in ("reference", "training", "archive")
    }
    models, output = str(folder / "models"), str(folder / "scan")

    def listing() -> int:
        codes = [
            ingest(IngestJob(source=str(archive / name), output=uri, camera_from="exif"))
            for name, uri in manifests.items()
        ]
        return max(codes)

    with connected(job.pool):
        steps: list[tuple[str, Callable[[], int]]] = [
            ("listing images", listing),
            (
                "making fingerprints",
                lambda: fingerprint(
                    FingerprintJob(manifest=manifests["reference"], output=models, **common)
                ),
            ),
            (
                "training camera models",
                lambda: camera_model(
                    CameraModelJob(manifest=manifests["training"], models=models, **common)
                ),
            ),
            (
                "scanning",
                lambda: scan(
                    ScanJob(
                        manifest=manifests["archive"],
                        output=output,
                        camera_models=models,
                        detectors=job.detectors,
                        shard_rows=8,
                        **common,
                    )
                ),
            ),
            (
                "evaluating against the truth",
                lambda: evaluate(
                    EvaluateJob(run=output, truth=str(archive / "truth.parquet"), **common)
                ),
            ),
        ]
        for name, step in steps:
            if code := _step(name, step):
                return code
    print(
        f"\nThe page, worst first:  {folder / 'scan' / 'page.html'}\n"
        "Curves and pictures in MLflow:\n"
        f"  {_command()} ui --backend-store-uri {store_uri(tracking, output)} --host 127.0.0.1\n"
        "  then open http://127.0.0.1:5000 and the experiment forensics/scan"
    )
    return OK


def _archive(folder: Path, settings: ArchiveSettings) -> Path:
    """The simulated archive; an earlier one with the same settings is used again."""
    archive, mark = folder / "archive", folder / "archive.digest"
    wanted = digest(settings.model_dump(mode="json"))
    if mark.exists() and mark.read_text() == wanted:
        return archive
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise UserError(f"{folder} holds something that is not this demo's; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text("unfinished")
    shutil.rmtree(archive, ignore_errors=True)
    make_archive(archive, settings, workers=os.cpu_count() or 1)
    mark.write_text(wanted)
    return archive


def _step(name: str, work: Callable[[], T]) -> T:
    print(f"\n== {name}", flush=True)
    start = time.monotonic()
    result = work()
    print(f"   {time.monotonic() - start:.0f} s", flush=True)
    return result


def _command() -> str:
    """How MLflow is called from the folder the user stands in."""
    local = Path(".venv/bin/mlflow")
    return str(local) if local.exists() else "mlflow"


if __name__ == "__main__":
    run_job(demo, DemoJob, __doc__)
