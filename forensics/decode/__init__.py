"""Bytes to pixels on the sensor grid: strict, bounded, and with a reason where it fails."""

from forensics.decode.decoder import Header, decode, probe

__all__ = ["Header", "decode", "probe"]
