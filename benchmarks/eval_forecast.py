"""Does a scan take and find what the doctor forecast from some of its images?

    python -m benchmarks.eval_forecast --manifest case/archive.parquet --folder /tmp/forecast \\
        --camera_models case/models --detectors camera,prnu

Samples, forecasts, scans all of it, and compares: seconds from the start of the run to its last
shard, bytes, flags, and the memory of the largest worker. Other options are those of jobs.scan.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import machine
from forensics.detectors import columns
from forensics.forecast import flagged, forecast
from forensics.manifest import draw
from forensics.run import Run, load_document, load_run
from forensics.schema import report_schema
from jobs.cluster import connected
from jobs.entry import settings_from
from jobs.probe import probe
from jobs.scan import ScanJob, ScanSettings, scan

RESULT = Path(__file__).parent / "results" / "forecast.json"


class WorkerMemory:
    """The most that any process that examines images holds, while the context lasts."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> WorkerMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            for process in psutil.process_iter(["cmdline", "memory_info"]):
                if "forensics.worker" in (process.info["cmdline"] or ()):
                    self.peak = max(self.peak, process.info["memory_info"].rss)


def truth(run: Run) -> dict[str, Any]:
    """What the finished run took and found, by its own files."""
    rows = [row for shard in range(run.shards) for row in run.report(shard).to_pylist()]
    files = [path for kind in ("report", "maps") for path in Path(run.uri, kind).iterdir()]
    started = datetime.fromisoformat(load_document(run.uri)["started"]).timestamp()
    return {
        "seconds": max(path.stat().st_mtime for path in files) - started,
        "read_bytes": sum(row["size"] or 0 for row in rows),
        "written_bytes": sum(path.stat().st_size for path in files),
        "flagged": sum(flagged(row, "decision") for row in rows),
        "statuses": dict(Counter(row["status"] for row in rows)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sample", type=int, default=64)
    given, rest = parser.parse_known_args()
    output = str(given.folder / "run")
    tracking = ["--tracking.uri", f"sqlite:///{given.folder / 'mlflow.db'}"]
    given.folder.mkdir(parents=True, exist_ok=True)
    job = settings_from(
        ScanJob, ["--manifest", given.manifest, "--output", output, *tracking, *rest]
    )
    settings = ScanSettings(**{name: getattr(job, name) for name in ScanSettings.model_fields})
    about = machine("ray", "torch")
    drawn = draw(given.manifest, given.sample, seed=0)
    report = report_schema(columns(job.detectors))
    with connected(job.pool) as pool:
        text = settings.model_dump_json()
        sample = probe(drawn.sample, text, job.limits, report, pool, job.pool.prefetch)
        shards = -(-drawn.rows // job.shard_rows)
        told = forecast(sample, drawn.rows, shards, pool.workers, "decision", drawn.size)
        with WorkerMemory() as memory:
            code = scan(job)
    if code:
        raise SystemExit(code)
    found = truth(load_run(output))
    lines = {
        "seconds": (*told.seconds, found["seconds"]),
        "read_bytes": (*told.read_bytes, found["read_bytes"]),
        "written_bytes": (*[told.written_bytes] * 3, found["written_bytes"]),
        "flagged": (*told.flagged, found["flagged"]),
        "worker_bytes": (*[sample.peak_bytes] * 3, memory.peak),
        **{
            name: (*amount, found["statuses"].get(name, 0))
            for name, amount in told.statuses.items()
        },
    }
    print(f"{drawn.rows} images, {len(drawn.sample)} sampled, {pool.workers} workers")
    for name, (value, lowest, highest, is_) in lines.items():
        off = f"{value / is_ - 1:+.0%}" if is_ else ""
        print(f"{name:16}{value:15,.0f} ({lowest:,.0f} to {highest:,.0f}) was {is_:,.0f} {off}")
    entry = {"machine": about, "images": drawn.rows, "sample": len(drawn.sample), "detectors": rest}
    RESULT.write_text(json.dumps({**entry, "forecast, lowest, highest, truth": lines}, indent=1))


if __name__ == "__main__":
    main()
