"""Names from outside where people read them, type them or where Markdown would be made of them."""

from __future__ import annotations

import re
import shlex

_HIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters, and marks that reorder text or take no room; as in the script of the page."""


def visible(text: str) -> str:
    """The text with its hidden characters spelt out: no name looks like another one."""
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def visible_lines(text: str) -> str:
    """The same of a text of several lines, which stay lines."""
    return "\n".join(map(visible, text.split("\n")))


def shell_word(text: str) -> str:
    """The text as one word of a shell's command line (bash or zsh where characters are hidden)."""
    if not _HIDDEN.search(text):
        return shlex.quote(text)
    plain = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{_HIDDEN.sub(_escaped, plain)}'"


def markdown_text(text: str) -> str:
    """The text as Markdown that shows it and does nothing: no link, no picture, no element."""
    shown = visible(text)
    return "".join(c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in shown)


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode("utf-8", "surrogateescape"))
