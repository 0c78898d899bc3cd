"""How long does the page of a scan with 10,000 rows take to open, from a file, in Chromium?

    python -m benchmarks.bench_page [--rows 10000] [--pictures 60] [--runs 5]

Needs Chromium and its driver. Milliseconds from the start of the navigation until the first image
stands on the screen with its picture; from a key (to the end of the list, and one up again) until
the picture of the image that it chooses stands there, which is a file beside the page; and the
page's size. Writes benchmarks/results/page.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from benchmarks.machine import machine
from forensics.records import Map
from forensics.report.figure import figure
from forensics.report.overlay import encode_picture
from forensics.report.page import PageRow, PageSummary, render_page
from forensics.report.pictures import thumbnail

RESULT = Path(__file__).parent / "results" / "page.json"
SHOWN = """
const [image, done] = [document.querySelector(".frame img"), arguments[0]];
const painted = () => requestAnimationFrame(() => done(performance.now()));
image.decode().then(() => requestAnimationFrame(painted));
"""


KEY = """
const [key, done] = [arguments[0], arguments[1]], start = performance.now();
document.getElementById("list").dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const image = document.querySelector(".frame img");
const painted = () => requestAnimationFrame(() => done(performance.now() - start));
image.decode().then(() => requestAnimationFrame(painted));
"""


def rows(count: int, pictures: int) -> list[PageRow]:
    """As a scan with two detectors gives them; all have a picture, ``pictures`` in the page."""
    rng = np.random.default_rng(0)
    values = rng.random((96, 128)).astype(np.float32)
    rgb = rng.integers(0, 256, (768, 1024, 3), np.uint8)
    maps = [Map("probability", 8, values), Map("decision", 8, values > 0.9)]
    picture = encode_picture(figure(rgb, {"prnu": maps}), "image/webp")
    small = encode_picture(thumbnail(rgb, {"prnu": maps}), "image/webp")
    found = []
    for k in range(count):
        score = 1 - k / count
        prnu = {"status": "ok", "score": score, "decision": score > 0.5, "tampered_fraction": 0.01}
        camera = {"status": "ok", "score": 0.1, "pce": 1234.5, "best": "Nikon D200 3001234"}
        found.append(
            PageRow(
                image_id=f"archive/2024/03/IMG_{k:06d}.jpg",
                uri=f"s3://newsroom-archive/2024/03/IMG_{k:06d}.jpg",
                status="ok",
                camera_id="Nikon D200 3001234",
                width=3872,
                height=2592,
                size=4_321_000 + k,
                sha256=f"{k:064x}",
                detectors={"camera": camera, "prnu": prnu},
                score=score,
                picture=picture if k < pictures else None,
                thumbnail=small if k < pictures else None,
                file=None if k < pictures else f"{k:032x}",
            )
        )
    return found


def put_beside(folder: Path, listed: list[PageRow]) -> None:
    """The files of the pictures that are not in the page; one file under many names."""
    (folder / "pictures").mkdir()
    for end, data in {".webp": listed[0].picture, "-small.webp": listed[0].thumbnail}.items():
        one = folder / f"one{end}"
        one.write_bytes(data or b"")
        for row in listed:
            if row.file is not None:
                os.link(one, folder / "pictures" / f"{row.file}{end}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    about = machine()
    summary = PageSummary("Scan", {"ok": given.rows}, digest="0" * 64, created="now")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(flag)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        listed = rows(given.rows, given.pictures)
        path.write_text(render_page(listed, summary), encoding="utf-8")
        put_beside(Path(folder), listed)
        service = Service(executable_path=shutil.which("chromedriver"))
        times, keys = [], []
        with webdriver.Chrome(options=options, service=service) as browser:
            for _ in range(given.runs):
                browser.get(path.as_uri())
                times.append(float(browser.execute_async_script(SHOWN)))
                keys += [float(browser.execute_async_script(KEY, k)) for k in ("End", "ArrowUp")]
        result = {
            "machine": about,
            "rows": given.rows,
            "pictures": given.pictures,
            "megabytes": path.stat().st_size / 1e6,
            "milliseconds": {
                "first": times[0],
                "median": statistics.median(times),
                "worst": max(times),
            },
            "key_milliseconds": {"median": statistics.median(keys), "worst": max(keys)},
        }
    RESULT.write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
