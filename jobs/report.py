"""Make the page of a finished or running scan: worst first, with pictures, works from the file.

    python -m jobs.report --run case/scan
    python -m jobs.report --run s3://bucket/run-1 --pictures 200

The scan itself makes this page at its end; this job makes it again with other numbers.
"""

from __future__ import annotations

from pydantic import Field

from forensics.config import Settings
from forensics.report.build import PICTURES, ROWS, build_review, write_review
from forensics.run import load_run
from jobs.entry import OK, run_job


class ReportJob(Settings):
    """A page: of which run, how long."""

    run: str = Field(description="URI of the run's folder")
    rows: int = Field(ROWS, ge=1, description="rows on the page, worst first")
    pictures: int = Field(PICTURES, ge=0, description="rows with a picture")


def report(job: ReportJob) -> int:
    """Write the page and say where it is."""
    run = load_run(job.run)
    print(f"page: {write_review(run, build_review(run, job.rows, job.pictures))}")
    return OK


if __name__ == "__main__":
    run_job(report, ReportJob, __doc__)
