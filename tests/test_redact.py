"""Secrets in texts are masked, everything else stays."""

from __future__ import annotations

import pytest

from forensics.redact import redact


def test_values_of_secret_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abc/def+ghi")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "x")
    assert redact("key abc/def+ghi, in a URL abc%2Fdef%2Bghi; xyz") == "key ***, in a URL ***; xyz"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://me:pa:ss@host:80/x", "at http://***@host:80/x"),
        ("http://me:p@ss@host/x", "http://***@host/x"),
        ("http://me:pa/ss@host/x", "http://***@host/x"),
        ("GET /k?X-Amz-Signature=abc123&a=1", "GET /k?X-Amz-Signature=***&a=1"),
        ("?x-amz-credential=AK%2F2026&b", "?x-amz-credential=***&b"),
        ("AWSAccessKeyId=QQQQ&Signature=zz%3D", "AWSAccessKeyId=***&Signature=***"),
        ("key AKIAIOSFODNN7EXAMPLE.", "key ***."),
        ("mail me@example.org s3://bucket/a@b", "mail me@example.org s3://bucket/a@b"),
    ],
)
def test_patterns(text: str, shown: str) -> None:
    assert redact(text) == shown
