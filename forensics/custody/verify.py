"""Checks a bundle: every bit of it, against its own manifest.

    python -m forensics verify BUNDLE
    python -m forensics verify BUNDLE --original photo.jpg --digest 5f0c…

Nothing is unpacked and nothing is written; the file is read in pieces. Exit code 0: the bundle is
whole (and the original and the digest are those asked for); 1: something differs, and the lines say
what; 2: it cannot be read, or is no bundle.

What that proves: that nothing changed since the bundle was made. It does not prove who made it:
whoever changes a bundle can make its manifest anew. So compare the printed digest of the bundle
with the one that was printed and logged when it was made, or give it as --digest.

Imports only Python's standard library.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from forensics.custody.container import (
    FORMAT,
    LOCAL,
    MANIFEST,
    MOST_BYTES,
    MOST_MEMBERS,
    NAME,
    Member,
    directory,
    local_header,
)

WHOLE, DIFFERS, UNUSABLE = 0, 1, 2
"""Exit codes."""

_PIECE = 2**20  # bytes read at once
_MANIFEST_BYTES = 2**20
_UNKNOWN = -1  # checksum of a member whose header is damaged
_NAME_BYTES = 1024
_LISTED = 20  # problems that are printed


@dataclass
class Finding:
    """What the check of a bundle found."""

    digest: str  # SHA-256 of the whole file
    members: int = 0
    manifest: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class NoBundle(Exception):
    """The file cannot be read as a bundle at all; the message says why."""


@dataclass(frozen=True)
class _Found:
    """A member that is there: as it is listed, and what its content is."""

    member: Member
    crc: int
    sha256: str


def verify(path: Path) -> Finding:
    """Check a bundle. Raises `NoBundle` and OSError where there is nothing to check."""
    with path.open("rb") as file:
        return inspect(file)


def inspect(file: BinaryIO) -> Finding:
    """Check an opened bundle; errors as for `verify`."""
    size = file.seek(0, 2)
    if size > MOST_BYTES + 2**24:
        raise NoBundle(f"it has {size:,} bytes, more than any bundle")
    finding = Finding(_digest(file, size))
    file.seek(0)
    found = [_manifest(file, size, finding)]
    while (member := _next(file, size, found, finding)) is not None:
        crc, total = 0, hashlib.sha256()
        for piece in _pieces(file, member.size):
            crc = zlib.crc32(piece, crc)
            total.update(piece)
        known = member if member.crc != _UNKNOWN else member._replace(crc=crc)
        found.append(_Found(known, crc, total.hexdigest()))
        if len(found) > MOST_MEMBERS:
            raise NoBundle(f"it has more than {MOST_MEMBERS:,} members")
    finding.members = len(found)
    _compare(found, finding)
    _check_directory(file, found, finding)
    return finding


def check_original(finding: Finding, path: Path) -> str | None:
    """What is wrong with a file that should be the original, if anything is."""
    known = finding.manifest.get("original")
    if not isinstance(known, dict) or not isinstance(known.get("sha256"), str):
        return f"original: {path} cannot be compared, the bundle has no hash of it"
    with path.open("rb") as file:
        found = _digest(file, file.seek(0, 2))
    if found != known["sha256"]:
        return f"original: {path} is another file (SHA-256 {found}, not {_shown(known['sha256'])})"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="forensics verify",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", type=Path, help="file made by jobs.report --bundle")
    parser.add_argument("--original", type=Path, help="file that should be the examined image")
    parser.add_argument("--digest", help="SHA-256 of the bundle, as it was printed and logged")
    given = parser.parse_args(arguments)
    try:
        finding = verify(given.bundle)
        problems = list(finding.problems)
        if given.original is not None and (problem := check_original(finding, given.original)):
            problems.append(problem)
    except (OSError, NoBundle) as error:
        _say(f"{given.bundle}: no bundle that can be checked: {error}", sys.stderr)
        return UNUSABLE
    if given.digest is not None and given.digest.strip().lower() != finding.digest:
        problems.insert(0, f"digest: {given.digest} was expected, this is another bundle")
    for line in _lines(given.bundle, finding, problems, given.digest is not None):
        _say(line, sys.stdout)
    return DIFFERS if problems else WHOLE


def _lines(path: Path, finding: Finding, problems: Sequence[str], compared: bool) -> Iterator[str]:
    yield f"bundle    {path}"
    if "image_id" in finding.manifest:
        yield f"image     {_shown(finding.manifest['image_id'])}"
    known = finding.manifest.get("original")
    if isinstance(known, dict):
        yield f"original  SHA-256 {_shown(known.get('sha256'))}"
    yield f"digest    SHA-256 {finding.digest}"
    for problem in problems[:_LISTED]:
        yield f"DIFFERS   {problem}"
    if len(problems) > _LISTED:
        yield f"DIFFERS   … and {len(problems) - _LISTED} more"
    if not problems:
        yield f"whole     {finding.members} members, every byte is as it was written"
        if not compared:
            yield (
                "note      anybody can make a bundle: compare the digest with the one that was "
                "printed and logged when this one was made"
            )


def _say(line: str, stream: Any) -> None:
    """Print; a name from outside can neither move the cursor nor break a narrow terminal."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    encoding = stream.encoding or "ascii"
    stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")


def _shown(value: object) -> str:
    return str(value)[:200]


def _digest(file: BinaryIO, size: int) -> str:
    file.seek(0)
    total = hashlib.sha256()
    for piece in _pieces(file, size):
        total.update(piece)
    return total.hexdigest()


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0:
        piece = file.read(min(size, _PIECE))
        if not piece:
            return
        size -= len(piece)
        yield piece


def _manifest(file: BinaryIO, size: int, finding: Finding) -> _Found:
    """The first member, read and understood, with the file at its end."""
    header = _header(file, size)
    if header is None or header.member.name != MANIFEST or header.member.size > _MANIFEST_BYTES:
        raise NoBundle(f"it does not begin with a {MANIFEST}")
    if not header.canonical:
        finding.problems.append(f"{MANIFEST}: its header is not as it was written")
    text = file.read(header.member.size)
    found = _Found(header.member, zlib.crc32(text), hashlib.sha256(text).hexdigest())
    try:
        manifest = json.loads(text)
        sizes = [(str(e["sha256"]), int(e["size"])) for e in manifest["members"].values()]
        named = all(NAME.fullmatch(name) for name in manifest["members"])
        usable = manifest["format"] == FORMAT and named and len(sizes) <= MOST_MEMBERS
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        usable = False
    if found.crc != found.member.crc:
        finding.problems.append(f"{MANIFEST}: altered (its checksum differs)")
    elif not usable:
        raise NoBundle(f"its {MANIFEST} is not that of a bundle of format {FORMAT}")
    finding.manifest = manifest if usable else {}
    return found


class _Header(NamedTuple):
    member: Member
    canonical: bool  # as `container.local_header` has it


def _header(file: BinaryIO, size: int) -> _Header | None:
    """The header of a member and the file at its content; None where none begins here."""
    start = file.tell()
    head = file.read(LOCAL.size)
    if len(head) < LOCAL.size or head[:4] != b"PK\3\4":
        file.seek(start)
        return None
    fields = LOCAL.unpack(head)
    raw = file.read(min(fields[9], _NAME_BYTES))
    file.seek(fields[10], 1)
    member = Member(raw.decode("utf-8", "replace"), fields[6], fields[7])
    if file.tell() + member.size > size:
        file.seek(start)
        return None
    canonical = raw == member.name.encode() and head + raw == local_header(member)
    return _Header(member, canonical and not fields[10])


def _next(file: BinaryIO, size: int, found: Sequence[_Found], finding: Finding) -> Member | None:
    """The next member and the file at its content; None, and the file after the last, at the end.

    A header that is damaged does not hide what follows: the manifest says where that begins.
    """
    start = file.tell()
    header = _header(file, size)
    if header is not None and header.canonical and _is_listed(header.member, finding):
        return header.member
    content = file.tell()
    expected = _expected(found, finding)
    if expected is not None and _follows(file, start, expected):
        finding.problems.append(f"{_shown(expected.name)}: its header is not as it was written")
        file.seek(start + LOCAL.size + len(expected.name))
        return expected
    if header is None:
        file.seek(start)
        return None
    if not header.canonical:
        name = _shown(header.member.name)
        finding.problems.append(f"{name}: its header is not as it was written")
    file.seek(content)
    return header.member


def _is_listed(member: Member, finding: Finding) -> bool:
    listed = finding.manifest.get("members", {}).get(member.name)
    return listed is not None and listed["size"] == member.size


def _expected(found: Sequence[_Found], finding: Finding) -> Member | None:
    """The member that the manifest lists after those that were found; its checksum is not known."""
    listed = finding.manifest.get("members", {})
    seen = {each.member.name for each in found}
    left = sorted(name for name in listed if name not in seen)
    if not left or not 0 <= (size := int(listed[left[0]]["size"])) <= MOST_BYTES:
        return None
    return Member(left[0], _UNKNOWN, size)


def _follows(file: BinaryIO, start: int, member: Member) -> bool:
    """Whether another member or the directory begins where this one would end."""
    file.seek(start + LOCAL.size + len(member.name) + member.size)
    return file.read(4) in (b"PK\3\4", b"PK\1\2")


def _check_directory(file: BinaryIO, found: Sequence[_Found], finding: Finding) -> None:
    """What follows the members says the same of them once more; nothing comes after it."""
    listed = directory([each.member for each in found])
    content = directory([each.member._replace(crc=each.crc) for each in found])
    for (owner, one), (_, other) in zip(listed, content, strict=True):
        # a checksum that was altered in one place is still right in the other
        if file.read(len(one)) not in (one, other):
            finding.problems.append(f"{_shown(owner)}: not as it was written")
    if file.read(1):
        finding.problems.append("after the end of the directory: there are further bytes")


def _compare(found: Sequence[_Found], finding: Finding) -> None:
    """The members against the manifest."""
    damaged = not finding.manifest or found[0].crc != found[0].member.crc
    listed = {} if damaged else finding.manifest["members"]
    seen = set()
    for each in found[1:]:
        name = each.member.name
        if name in seen:
            finding.problems.append(f"{_shown(name)}: is there twice")
        elif damaged:
            if each.crc != each.member.crc:
                finding.problems.append(f"{_shown(name)}: altered (its checksum differs)")
        elif name not in listed:
            finding.problems.append(f"{_shown(name)}: additional, {MANIFEST} does not list it")
        elif (each.sha256, each.member.size) != (listed[name]["sha256"], listed[name]["size"]):
            finding.problems.append(f"{_shown(name)}: altered (its SHA-256 differs)")
        elif each.crc != each.member.crc:
            finding.problems.append(f"{_shown(name)}: its checksum is not as it was written")
        seen.add(name)
    names = [each.member.name for each in found[1:]]
    if names != sorted(names):
        finding.problems.append("members are not in the order of their names")
    finding.problems += [f"{_shown(name)}: missing" for name in sorted(listed) if name not in seen]


if __name__ == "__main__":
    sys.exit(main())
