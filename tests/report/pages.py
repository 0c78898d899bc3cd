"""A page with everything awkward on it, for the tests that read it and that open it."""

from __future__ import annotations

import numpy as np

from forensics.records import Map
from forensics.report.figure import figure
from forensics.report.overlay import encode_picture
from forensics.report.page import PageRow, PageSummary

HOSTILE = [
    "<img src=x onerror=\"document.title='owned'\">.jpg",
    "<svg onload=document.title='owned'>",
    "</script><script>document.title='owned'</script>.png",
    "<!--<script>.jpg",
    'it\'s "quoted" & <b>bold</b>.tif',
    "&lt;escaped&gt;.jpg",
    "שלום עולם.jpg",
    "🕵🏽‍♀️ 📷.webp",
    "photo\u202egnp.exe",
    "line\u2028separator\u2029.jpg",
    "not-utf8-\udc80.jpg",
    "javascript:document.title='owned'",
    "x" * 3000,
]

SUMMARY = PageSummary(
    title="Scan of <b>archive</b> & \"more\" </title><script>document.title='owned'</script>",
    counts={"ok": 4, "not_applicable": len(HOSTILE)},
    digest="<i>3f9c1d07</i>",
    created="2026-01-02 03:04 UTC",
    versions={"forensics": "0.1.0", "<u>torch</u>": "2.13"},
)


def picture() -> bytes:
    rgb = np.full((120, 160, 3), 100, np.uint8)
    values = np.zeros((30, 40), np.float32)
    values[8:22, 10:30] = 1
    maps = [Map("probability", 4, values), Map("decision", 4, values > 0.5)]
    return encode_picture(figure(rgb, {"prnu": maps}), "image/webp")


def rows() -> list[PageRow]:
    plain = [
        PageRow(
            image_id=f"id-{k}",
            uri=f"s3://bucket/2024/IMG_{k}.jpg",
            status="ok",
            camera_id=f"Camera {k}",
            width=4000,
            height=3000,
            size=1_234_567,
            sha256=f"{k}" * 64,
            detectors={
                "prnu": {"status": "ok", "score": score, "tampered_area": np.float32(0.25)},
                "camera": {
                    "status": "ok",
                    "score": 1 - score,
                    "ranks": [{"camera": "A", "pce": 123.4}],
                },
            },
            score=score,
            picture=picture() if k in (1, 2) else None,
        )
        for k, score in enumerate([0.25, 0.75, 0.5, float("nan")])
    ]
    hostile = [
        PageRow(
            image_id=name,
            uri=f"/odd/{k}/{name}",
            status="not_applicable",
            reason=name,
            camera_id=name,
            label=name,
            sha256=name,
            detectors={name: {"status": name, "reason": name, name: name, "list": [{name: name}]}},
        )
        for k, name in enumerate(HOSTILE)
    ]
    return [*plain, *hostile]
