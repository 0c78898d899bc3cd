"""The file of a bundle: a zip archive that can be written in one way only.

Members are stored as they are (no compression), in the order of their names, without dates, flags
or extra fields; the first is ``MANIFEST.json`` with size and SHA-256 of all others. So the same
parts give the same file, bit for bit, and every bit of it is either content, whose hash the
manifest has, or follows from the content. Any program that knows zip files opens it.

Imports only Python's standard library.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

MANIFEST = "MANIFEST.json"
FORMAT = 1
MOST_BYTES = 2**32 - 2**24  # what a zip file without 64-bit fields holds, and room for its lists
MOST_MEMBERS = 1000
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
"""Names of members: nothing that a path, a terminal or a shell could take for something else."""

LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION, _DATE = 20, 0x21  # zip 2.0; 1 January 1980, where the zip format's calendar begins
_FILE = 0o100644 << 16  # a plain file that everybody may read


class Member(NamedTuple):
    """A member as the lists of the file know it."""

    name: str
    crc: int  # CRC-32 of the content
    size: int  # bytes


def write(members: Mapping[str, bytes], about: Mapping[str, Any]) -> bytes:
    """The bundle of these members; ``about`` is what else its manifest says.

    Raises ValueError for a name that is not `NAME`, and for more than a zip file can hold.
    """
    if odd := [name for name in members if not NAME.fullmatch(name) or name <= MANIFEST]:
        raise ValueError(f"a member of a bundle cannot be called {odd[0]!r}")
    parts = [(MANIFEST, manifest(members, about).encode()), *sorted(members.items())]
    if len(parts) > MOST_MEMBERS or sum(len(data) for _, data in parts) > MOST_BYTES:
        raise ValueError(f"a bundle holds at most {MOST_MEMBERS} members and 4 GB")
    found = [Member(name, zlib.crc32(data), len(data)) for name, data in parts]
    out = bytearray()
    for member, (_, data) in zip(found, parts, strict=True):
        out += local_header(member) + data
    return bytes(out + b"".join(part for _, part in directory(found)))


def manifest(members: Mapping[str, bytes], about: Mapping[str, Any]) -> str:
    """The text of ``MANIFEST.json``."""
    listed = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in members.items()
    }
    return json.dumps({"format": FORMAT, **about, "members": listed}, indent=1, sort_keys=True)


def local_header(member: Member) -> bytes:
    """What stands before a member's content."""
    name = member.name.encode()
    head = (b"PK\3\4", _VERSION, 0, 0, 0, _DATE, member.crc, member.size, member.size, len(name), 0)
    return LOCAL.pack(*head) + name


def directory(members: list[Member]) -> Iterator[tuple[str, bytes]]:
    """What stands after all members, in parts: whose entry it is, and its bytes."""
    start = 0
    length = 0
    for member in members:
        name = member.name.encode()
        common = (_VERSION, 0, 0, 0, _DATE, member.crc, member.size, member.size, len(name))
        entry = _CENTRAL.pack(b"PK\1\2", (3 << 8) | _VERSION, *common, 0, 0, 0, 0, _FILE, start)
        yield f"the entry of {member.name} in the directory", entry + name
        length += len(entry) + len(name)
        start += LOCAL.size + len(name) + member.size
    count = len(members)
    end = _END.pack(b"PK\5\6", 0, 0, count, count, length, start, 0)
    yield "the end of the directory", end
