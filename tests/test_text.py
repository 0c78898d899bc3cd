from __future__ import annotations

import shutil
import subprocess

import pytest

from forensics.text import markdown_text, shell_word, visible
from tests.report.pages import HOSTILE

WRITABLE = [name for name in HOSTILE if "\udc80" not in name]
COMMANDS = ["$(touch owned)", "`id`", "a'b\nc'", "'\u202e; rm -rf /", "-rf", "\\x41\u200b", ""]


def test_hidden_characters_are_spelt_out() -> None:
    assert visible("photo\u202egnp.exe") == "photo⟨U+202E⟩gnp.exe"
    assert visible("a\nb\x1b[31m\udc80") == "a⟨U+000A⟩b⟨U+001B⟩[31m⟨U+DC80⟩"
    assert visible("שלום 📷 naïve.jpg") == "שלום 📷 naïve.jpg"


@pytest.mark.parametrize("text", [*WRITABLE, *COMMANDS])
def test_a_shell_reads_the_word_as_it_was(text: str) -> None:
    word = shell_word(text)
    assert visible(word) == word
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    done = subprocess.run([bash, "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert done.stdout.decode() == text


@pytest.mark.parametrize("text", [*WRITABLE, "![x](http://e/p.png)", "# *a* | b", "www.e.com"])
def test_markdown_is_made_of_letters_and_numbers_alone(text: str) -> None:
    written = markdown_text(text)
    plain = "".join(part.partition(";")[2] for part in ("&#0;" + written).split("&#"))
    assert all(c.isalnum() or c == " " for c in plain)
    assert written.isprintable()


def test_markdown_says_what_the_text_says() -> None:
    assert markdown_text("a*b 1") == "a&#42;b 1"
