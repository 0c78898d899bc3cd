"""What is kept and said of a study: records, a table and a summary in its folder and in MLflow."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forensics import storage
from forensics.records import UserError
from jobs.evaluation.settings import EvaluateJob
from jobs.tracking import Tracker

_REASONS = 10  # printed


def destination(job: EvaluateJob) -> tuple[str, str]:
    """URIs of the study's truth and of its folder. Raises `UserError` where one is not given."""
    if job.truth is None or job.output is None:
        raise UserError("a study needs truth (URI of a manifest) and output (URI of a folder)")
    return job.truth, job.output


def put_table(content: pa.Table, uri: str) -> None:
    """Store a table as Parquet."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "table.parquet")
        pq.write_table(content, path)
        storage.write_file(uri, path)


def keep(output: str, summary: Mapping[str, Any], table: pa.Table, tracker: Tracker) -> None:
    """Store and log the summary and its table."""
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    put_table(table, storage.join(output, "table.parquet"))
    storage.write(storage.join(output, "summary.json"), text.encode())
    tracker.text(text, "summary.json")
    tracker.table(table.to_pydict(), "table.json")


def say(lines: Iterable[str], reasons: Mapping[str, int], output: str) -> None:
    """The study for people, with the most frequent reasons of what could not be judged."""
    for line in lines:
        print(line)
    for reason, count in islice(reasons.items(), _REASONS):
        print(f"  {count} x {reason}")
    print(f"-> {output}")
