"""The dashboard of scans."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.panels import Panel, course, dashboard, number, of, per_second
from jobs import metrics

ERRORS = 'status=~"failed|timeout"'
ABSTAINED = 'status="not_applicable"'


def build() -> Dashboard:
    """Progress, outcomes, where time goes, and what is in short supply."""
    return dashboard(
        "Forensics: scan", "forensics-scan", metrics.SHARDS, [*_progress(), *_outcomes(), *_work()]
    )


def _progress() -> list[Panel]:
    waiting = of(metrics.SHARDS_WAITING)
    last = of(metrics.LAST_IMAGE)
    return [
        number(
            "Done",
            "percentunit",
            "How much of the scan is committed?",
            "If it does not grow for long, look at 'Since the last image'.",
            f"sum by (run) ({of(metrics.SHARDS_DONE)}) / sum by (run) ({of(metrics.SHARDS)})",
        ),
        number(
            "Time left",
            "s",
            "When is the scan through, at the pace of the last quarter of an hour?",
            "If that is too late, stop the job and run the same command again with more workers "
            "(pool.workers, more nodes). Empty: no shard was committed lately.",
            f"sum by (run) ({waiting}) / (sum by (run) (-deriv({waiting}[15m])) > 0)",
        ),
        number(
            "Since the last image",
            "s",
            "Is the scan alive?",
            "If it is more than limits.timeout_seconds, the scan is stuck: read the job's log, see "
            "that nodes are up and storage answers, then run the same command again.",
            f"time() - max by (run) (max_over_time({last}[1h]))",
        ),
        number(
            "Workers replaced in the last hour",
            "short",
            "Do images kill workers, or does memory run out?",
            "A few are nothing: each costs one image at most. If there are many, read the reasons "
            "of the rows with status failed or timeout; for memory, fewer workers per node.",
            f"sum by (run) (increase({of(metrics.RESTARTS)}[1h]))",
        ),
    ]


def _outcomes() -> list[Panel]:
    images, findings = per_second(metrics.IMAGES), per_second(metrics.FINDINGS)
    return [
        course(
            "Images",
            "cps",
            "How fast are images answered, and what becomes of them?",
            "If it falls, see 'Seconds' for the stage that has become slow. Many unreadable: look "
            "at their reasons in the report; files that are gone or broken stay so.",
            {"{{status}}": f"sum by (status) ({images})"},
        ),
        course(
            "Errors",
            "percentunit",
            "Which share of images fails, or takes too long?",
            "If it is above a few percent, read the reasons in the report. After a fix, or with "
            "higher limits: jobs.scan --retry status=failed,timeout.",
            {
                "{{run}}": f"sum by (run) ({per_second(metrics.IMAGES, ERRORS)})"
                f" / sum by (run) ({images})"
            },
        ),
        course(
            "Abstentions",
            "percentunit",
            "Which share of images can a detector not judge?",
            "If a detector abstains from nearly all, something that it needs is missing: camera "
            "models, camera_id in the manifest, image sizes. Its reasons are in the report.",
            {
                "{{detector}}": "sum by (detector) "
                f"({per_second(metrics.FINDINGS, ABSTAINED)}) / sum by (detector) ({findings})"
            },
        ),
        course(
            "Findings",
            "ops",
            "What does each detector say of the images?",
            "If a detector fails, its reasons are in the report; an image with one failed detector "
            "is a failed row and can be retried.",
            {"{{detector}} {{status}}": f"sum by (detector, status) ({findings})"},
        ),
    ]


def _work() -> list[Panel]:
    buckets = f"sum by (stage, le) ({per_second(metrics.STAGE_SECONDS)})"
    return [
        course(
            "Seconds, half of the images",
            "s",
            "How long does a stage take, of a typical image (write: of a shard)?",
            "If fetch is slow, storage is: raise pool.prefetch. If a detector is, give it a GPU or "
            "leave it out.",
            {"{{stage}}": f"histogram_quantile(0.5, {buckets})"},
        ),
        course(
            "Seconds, slowest of twenty",
            "s",
            "How long does a stage take of the slow images?",
            "If a detector comes near limits.timeout_seconds, large images become timeout rows: "
            "raise the limit before they do, or retry them afterwards.",
            {"{{stage}}": f"histogram_quantile(0.95, {buckets})"},
        ),
        course(
            "Workers at work",
            "short",
            "On what do the workers spend their time (seconds per second)?",
            "The tallest curve is what a faster scan would need; fetch goes on beside the others. "
            "If their sum is far below the number of workers, they wait: for bytes (see 'Images "
            "fetched ahead') or for nodes.",
            {"{{stage}}": f"sum by (stage) ({per_second(metrics.BUSY_SECONDS)})"},
        ),
        course(
            "Fetched",
            "Bps",
            "How much do we read from storage?",
            "If it stands at what network or storage give, more workers will not help.",
            {"{{run}}": f"sum by (run) ({per_second(metrics.FETCHED_BYTES)})"},
        ),
        course(
            "Images fetched ahead",
            "short",
            "Do workers wait for bytes?",
            "If it stays at 0, they do: raise pool.prefetch, or bring workers nearer to storage.",
            {"{{run}}": f"sum by (run) ({of(metrics.IMAGES_AHEAD)})"},
        ),
        course(
            "Shards waiting",
            "short",
            "How much is left to this job?",
            "If it does not fall though images are answered, shards are dealt again: workers die "
            "before they can commit. Smaller shard_rows lose less, in a new output folder.",
            {"{{run}}": f"sum by (run) ({of(metrics.SHARDS_WAITING)})"},
        ),
    ]
