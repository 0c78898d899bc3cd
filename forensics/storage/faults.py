"""Which failures of an S3 client are final, which may pass, and what to tell the user."""

from __future__ import annotations

import ssl

from forensics.redact import redact
from forensics.storage.errors import AccessDenied, NotFound, StorageError
from forensics.storage.retry import Transient


class Exists(StorageError):
    """A conditional write found the object there."""


class BeyondEnd(StorageError):
    """A ranged read starts behind the last byte."""


_ABSENT = {"NoSuchKey", "NoSuchBucket", "NotFound", "404"}
_DENIED = {
    "AccessDenied",
    "AllAccessDisabled",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_PASSING = {
    "BadDigest",  # damaged on the way up
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "XAmzContentSHA256Mismatch",
}
_NO_CREDENTIALS = {
    "CredentialRetrievalError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
}
_PASSING_STATUS = {408, 429, 500, 502, 503, 504}
_PASSING_KINDS = {  # by name: botocore, aiohttp and Python have classes of these names
    "ChecksumError",
    "ClientError",  # aiohttp's; botocore's carries an answer
    "ConnectionError",
    "FlexibleChecksumError",
    "HTTPClientError",
    "IncompleteRead",
    "ResponseParserError",
    "SSLError",
    "TimeoutError",
}

_KEYS = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the profile) and the bucket's rights"
_HINTS = {
    "ExpiredToken": "The session token has expired: get new credentials.",
    "RequestTimeTooSkewed": "This machine's clock is wrong: set it.",
    "NoSuchBucket": "There is no such bucket: check its name and AWS_ENDPOINT_URL, or create it.",
}


def translate(error: Exception, what: str) -> Exception:
    """Our exception for a client's; a new one, without the old one as its cause.

    ``what`` names the action and the object; it opens the message.
    """
    response = getattr(error, "response", None)
    if isinstance(response, dict) and "Error" in response:
        code = str(response["Error"].get("Code", ""))
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return _answered(code, status, redact(str(response["Error"].get("Message", ""))), what)
    names = {kind.__name__ for kind in type(error).__mro__}
    reason = redact(f"{type(error).__name__}: {error}")
    if names & _NO_CREDENTIALS:
        return AccessDenied(f"{what}: no usable credentials ({type(error).__name__}). {_KEYS}.")
    if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in reason:
        return StorageError(f"{what}: {reason}. Set AWS_CA_BUNDLE to the store's certificate.")
    if names & _PASSING_KINDS:
        return Transient(reason)
    return StorageError(f"{what}: {reason}")


def _answered(code: str, status: int, message: str, what: str) -> Exception:
    reason = f"{what}: {message or 'refused'} ({code or status})."
    if code == "PreconditionFailed" or status == 412:
        return Exists(reason)
    if code == "InvalidRange" or status == 416:
        return BeyondEnd(reason)
    if code in _ABSENT or status == 404:
        return NotFound(f"{reason} {_HINTS.get(code, 'Check the name.')}")
    if code in _DENIED or status in (401, 403):
        return AccessDenied(f"{reason} {_HINTS.get(code, _KEYS + '.')}")
    if code in _PASSING or status in _PASSING_STATUS:
        return Transient(f"{code or status}: {message}")
    return StorageError(reason)
