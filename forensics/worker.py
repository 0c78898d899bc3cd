"""The child process that examines images, so that an image that kills or hangs it costs one row.

Run by `forensics.supervisor` as ``python -m forensics.worker FD``; both ends speak over one socket:

    parent → child   ("load", ScanSettings as JSON) · ("row", index, ManifestRow) … · end of file
    child → parent   ("ready", None) or ("refused", message) ·
                     ("fetched", index, seconds) · ("done", index, report record, map records)

Rows are answered in the order they came. Bytes of the rows sent ahead are fetched meanwhile on
threads; the parent bounds how many those are. Only processes of this package on this machine talk
here, so pickles never come from outside.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from forensics import schema
from forensics.evidence import fetch
from forensics.records import Evidence, ManifestRow, explain
from forensics.scan import Scanner, ScanSettings, unfetched

Work = tuple[int, ManifestRow, "Future[Evidence]"]


def main(descriptor: int) -> None:
    """Serve until the parent closes its end or dies."""
    threading.Thread(target=_leave_with_parent, args=(os.getppid(),), daemon=True).start()
    connection = Connection(descriptor)
    _, settings = connection.recv()
    try:
        scanner = Scanner(ScanSettings.model_validate_json(settings))
    except Exception as error:
        connection.send(("refused", explain(error)))
        return
    send = _Sender(connection)
    send(("ready", None))
    work: queue.Queue[Work | None] = queue.Queue()
    threading.Thread(target=_receive, args=(connection, send, work), daemon=True).start()
    while (item := work.get()) is not None:
        index, row, evidence = item
        try:
            report = scanner.examine(row, evidence.result())
        except Exception as error:  # only fetching raises
            report = unfetched(row, error)
        del evidence, item
        send(("done", index, schema.report_record(index, report), schema.map_records(report)))


class _Sender:
    """Sends whole messages from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def __call__(self, message: tuple[Any, ...]) -> None:
        with self._lock:
            self._connection.send(message)


def _receive(connection: Connection, send: _Sender, work: queue.Queue[Work | None]) -> None:
    """Start fetching each row as it comes and queue it for examination."""
    pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="fetch")

    def fetched(index: int, row: ManifestRow) -> Evidence:
        start = time.perf_counter()
        try:
            return fetch(row)
        finally:
            send(("fetched", index, time.perf_counter() - start))

    try:
        while True:
            _, index, row = connection.recv()
            work.put((index, row, pool.submit(fetched, index, row)))
    except (EOFError, OSError):
        work.put(None)


def _leave_with_parent(parent: int) -> None:
    """A killed parent cannot end its child, and a long computation does not read the socket."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
