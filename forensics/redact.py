"""Removes secrets from text before anybody sees it."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

SECRET_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "RAY_AUTH_TOKEN",
)
"""Environment variables whose values never appear in a message."""

MASK = "***"
_SHORTEST_SECRET = 4  # a shorter value would also blank out ordinary words

# A password may hold a raw slash, as AWS secrets do; then the user's name and colon tell.
_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)(?:[^/\s?#]*|[^/\s?#@:]+:[^\s@]+)@")
_SIGNED_QUERY = re.compile(
    r"(?P<name>X-Amz-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|Signature)"
    r"(?P<equals>=|%3D)[^&\s\"'<>]+",
    re.IGNORECASE,
)
_ACCESS_KEY = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")


def redact(text: str) -> str:
    """``text`` without credentials.

    Masks the values of ``SECRET_VARIABLES`` (also percent-encoded), ``user:password@`` in URLs, the
    signature and credential parameters of signed URLs, and anything shaped like an AWS access key.
    """
    for name in SECRET_VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, MASK).replace(quote(value, safe=""), MASK)
    text = _USER_INFO.sub(rf"\g<scheme>{MASK}@", text)
    text = _SIGNED_QUERY.sub(rf"\g<name>\g<equals>{MASK}", text)
    return _ACCESS_KEY.sub(MASK, text)


def carries_credentials(uri: str) -> bool:
    """Whether ``uri`` holds ``user:password@`` or the parameters of a signed URL."""
    return bool(_USER_INFO.match(uri) or _SIGNED_QUERY.search(uri))
