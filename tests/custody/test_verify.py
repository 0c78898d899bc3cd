"""Every bit of a bundle is checked; what is hostile hurts nobody."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from forensics.custody import container, verify
from forensics.custody.container import MANIFEST
from forensics.custody.verify import Finding, NoBundle, inspect

MEMBERS = {
    "maps/00-a-probability.png": bytes(range(60)),
    "report.json": b'{"status": "ok"}',
    "zero": b"",
}
ABOUT = {"image_id": "photo 1.jpg", "original": {"sha256": "00" * 32}}
NAMES = (MANIFEST, *MEMBERS)


@pytest.fixture(scope="module")
def whole() -> bytes:
    return container.write(MEMBERS, ABOUT)


def check(data: bytes) -> Finding:
    return inspect(io.BytesIO(data))


def regions(data: bytes) -> list[str]:
    """For every byte, the member it belongs to, or ``directory`` for the last part."""
    owners: list[str] = []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            assert info.header_offset == len(owners)
            owners += [info.filename] * (30 + len(info.filename) + info.file_size)
    return owners + ["directory"] * (len(data) - len(owners))


def test_a_bundle_is_an_ordinary_zip_file(whole: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [MANIFEST, *sorted(MEMBERS)]
        assert {name: archive.read(name) for name in MEMBERS} == MEMBERS
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert container.write(dict(reversed(MEMBERS.items())), ABOUT) == whole


def test_a_whole_bundle_has_no_problems(whole: bytes) -> None:
    found = check(whole)
    assert (found.problems, found.members) == ([], 4)
    assert found.manifest["image_id"] == "photo 1.jpg"


def test_every_flipped_bit_is_found_and_named(whole: bytes) -> None:
    owners = regions(whole)
    unusable = set()
    for place, owner in enumerate(owners):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            try:
                problems = check(bytes(data)).problems
            except NoBundle as error:
                problems = [str(error)]
                unusable.add(owner)
            assert problems, (place, bit)
            said = " ".join(problems)
            assert owner in said, (place, bit, said)
            if owner in MEMBERS:  # and no other member is suspected, but for a name that changed
                others = [name for name in MEMBERS if name != owner and name in said]
                assert not others, (place, bit, said)
    assert unusable == {MANIFEST}  # nothing can be said without it


@pytest.mark.parametrize("name", MEMBERS)
def test_a_missing_member_is_named(whole: bytes, name: str) -> None:
    rest = {n: d for n, d in MEMBERS.items() if n != name}
    problems = check(with_manifest_of(whole, rest)).problems
    assert problems == [f"{name}: missing"]


@pytest.mark.parametrize("name", ["additional", "a/first", "zzz"])
def test_an_additional_member_is_named(whole: bytes, name: str) -> None:
    problems = check(with_manifest_of(whole, {**MEMBERS, name: b"x"})).problems
    assert problems == [f"{name}: additional, {MANIFEST} does not list it"]


def test_a_changed_member_is_named_though_all_checksums_fit(whole: bytes) -> None:
    changed = {**MEMBERS, "report.json": b'{"status": "no"}'}
    problems = check(with_manifest_of(whole, changed)).problems
    assert problems == ["report.json: altered (its SHA-256 differs)"]


def with_manifest_of(whole: bytes, members: dict[str, bytes]) -> bytes:
    """A well-formed file of these members beside the manifest of another."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        manifest = archive.read(MANIFEST)
    return raw([(MANIFEST, manifest), *sorted(members.items())])


def raw(parts: list[tuple[str, bytes]]) -> bytes:
    """A file as `container.write` makes it, of any parts in any order."""
    found = [container.Member(n, zipfile.crc32(d), len(d)) for n, d in parts]  # type: ignore[attr-defined]
    content = b"".join(
        container.local_header(m) + d for m, (_, d) in zip(found, parts, strict=True)
    )
    return content + b"".join(part for _, part in container.directory(found))


def test_other_programs_changes_are_found(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("note.txt", "harmless")
    assert any(p.startswith("note.txt: additional") for p in verify.verify(path).problems)
    rewritten = io.BytesIO()
    with (
        zipfile.ZipFile(path) as old,
        zipfile.ZipFile(rewritten, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in NAMES:
            new.writestr(name, old.read(name))
    assert check(rewritten.getvalue()).problems[0].startswith(MANIFEST)  # it is compressed


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data + b"\0",
        lambda data: data[:-1],
        lambda data: data[:-30],
        lambda data: data[:-200],
        lambda data: data[:-2] + b"\4\0" + b"hide",  # a comment
    ],
)
def test_bytes_after_or_missing_at_the_end(whole: bytes, damage: Callable[[bytes], bytes]) -> None:
    assert check(damage(whole)).problems


def test_two_members_of_one_name(whole: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        manifest = archive.read(MANIFEST)
    parts = sorted([*MEMBERS.items(), ("zero", b"evil")])
    problems = check(raw([(MANIFEST, manifest), *parts])).problems
    assert "zero: is there twice" in problems


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "C:\\x", "a\nb", "\x1b[2J", "ü", ""]
)
def test_names_that_are_paths_or_control_characters(
    whole: bytes, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="cannot be called"):
        container.write({name: b"x"}, {})
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        manifest = archive.read(MANIFEST)
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    path = folder / "b.zip"
    path.write_bytes(raw([(MANIFEST, manifest), (name, b"evil"), *sorted(MEMBERS.items())]))
    assert verify.main([str(path)]) == verify.DIFFERS
    said = capsys.readouterr().out
    assert "additional" in said
    assert "\x1b" not in said
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    values = json.loads(manifest)
    values["members"][name] = {"size": 4, "sha256": "0" * 64}
    with pytest.raises(NoBundle, match="not that of a bundle"):
        check(raw([(MANIFEST, json.dumps(values).encode())]))


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 200_000,
        b'{"format": 1, "members": []}',
        b'{"format": 2, "members": {}}',
        b'{"format": 1, "members": {"a": {"size": 1e999, "sha256": ""}}}',
        b'{"format": 1, "members": {"a": {"size": ' + b"9" * 5000 + b', "sha256": ""}}}',
        b'{"format": 1, "members": {"\\ud800": {"size": 1, "sha256": ""}}}',
        b"\xff\xfe",
    ],
)
def test_a_hostile_manifest_is_refused(manifest: bytes) -> None:
    with pytest.raises(NoBundle, match=MANIFEST):
        check(raw([(MANIFEST, manifest), ("a", b"x")]))


def test_a_zip_bomb_is_not_unpacked(whole: bytes) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("report.json", b"\0" * 50_000_000)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        manifest = archive.read(MANIFEST)
    head = container.local_header(
        container.Member(MANIFEST, zipfile.crc32(manifest), len(manifest))  # type: ignore[attr-defined]
    )
    found = check(head + manifest + bomb.getvalue())
    assert any("report.json" in problem for problem in found.problems)
    lying = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0x21, 0, 2**32 - 1, 2**32 - 1, 1, 0)
    assert check(head + manifest + lying + b"x" + b"tiny").problems


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip", b"PK\5\6" + bytes(18), bytes(100)])
def test_what_is_no_bundle(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(data)
    assert verify.main([str(path)]) == verify.UNUSABLE
    assert "no bundle that can be checked" in capsys.readouterr().err
    assert verify.main([str(tmp_path / "absent.zip")]) == verify.UNUSABLE
    assert verify.main([str(tmp_path)]) == verify.UNUSABLE


def test_the_command_says_digest_and_result(
    whole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(whole)
    digest = check(whole).digest
    assert verify.main([str(path)]) == verify.WHOLE
    said = capsys.readouterr().out
    assert f"digest    SHA-256 {digest}" in said
    assert "whole     4 members" in said
    assert "anybody can make a bundle" in said
    assert verify.main([str(path), "--digest", digest.upper()]) == verify.WHOLE
    assert "anybody" not in capsys.readouterr().out
    assert verify.main([str(path), "--digest", "0" * 64]) == verify.DIFFERS
    assert "this is another bundle" in capsys.readouterr().out


def test_a_bundle_made_anew_is_another_one(whole: bytes) -> None:
    """What a list of hashes cannot show: so the digest is printed, logged and compared."""
    forged = container.write({**MEMBERS, "report.json": b'{"status": "no"}'}, ABOUT)
    assert check(forged).problems == []
    assert check(forged).digest != check(whole).digest
