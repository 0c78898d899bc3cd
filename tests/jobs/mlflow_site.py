"""MLflow's own pages in a browser: its server on loopback, and what is read and photographed."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from tests.patience import PATIENCE_SECONDS


@contextmanager
def mlflow_ui(store: str, log: Path) -> Iterator[str]:
    """The address of a server of this store, which ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while not _answers(f"{address}/health"):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def open_run(browser: Any, address: str, experiment: str, run: str, part: str = "") -> None:
    """Open a run's page, or a part of it, without what covers it at a first visit."""
    browser.get(f"{address}/static-files/favicon.ico")  # the place whose storage is meant
    for name, value in {"panelOpen": "false", "fab.autoOpenedOnFirstLoad": "true"}.items():
        browser.execute_script(f"localStorage.setItem('mlflow.assistant.{name}_v1', '{value}')")
    where = f"experiments/{experiment}/runs/{run}{part}?workflowType=machine_learning"
    browser.get(f"{address}/#/{where}")


def wait_for(browser: Any, script: str, *arguments: Any) -> Any:
    """What the JavaScript expression gives, as soon as it gives something."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := browser.execute_script(f"return {script}", *arguments)):
        said = browser.execute_script("return document.body?.innerText")
        assert time.monotonic() < end, f"{script}\n{said}"
        time.sleep(0.1)
    return found


def wait_for_text(browser: Any, text: str) -> None:
    wait_for(browser, "document.body?.innerText.includes(arguments[0])", text)


def photograph(browser: Any, path: Path) -> None:
    """What is on the screen, as WebP."""
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=86, method=6)
