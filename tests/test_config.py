"""Settings from file and command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, model_validator

from forensics.config import Settings, describe, digest, flat, load
from forensics.records import UserError


class Inner(Settings):
    window: int = Field(128, ge=1, description="pixels")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"window": 512} if value == "large" else value


class Outer(Settings):
    output: str
    names: tuple[str, ...] = ("a", "b")
    limit: int | None = None
    inner: Inner = Inner()


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", "output: out\ninner: {window: 64}\nlimit: 5\n")
    loaded = load(Outer, config, ["--inner.window", "32", "--names=x,y", "--limit", "null"])
    assert loaded == Outer(output="out", names=("x", "y"), limit=None, inner=Inner(window=32))


def test_a_section_may_be_given_by_name(tmp_path: Path) -> None:
    expected = Outer(output="x", inner=Inner(window=512))
    given = write(tmp_path / "c.yaml", "output: x\ninner: large\n")
    parts = write(tmp_path / "parts.yaml", "output: x\ninner: {window: 64}\n")
    assert load(Outer, given) == expected
    assert load(Outer, parts, ["--inner", "large"]) == expected
    with pytest.raises(UserError, match=r"--inner\.window: inner is 'large' already"):
        load(Outer, given, ["--inner.window", "3"])
    with pytest.raises(UserError, match="inner: Input should be a valid dictionary"):
        load(Outer, parts, ["--inner", "small"])


def test_a_folder_named_like_a_number_stays_text() -> None:
    assert load(Outer, None, ["--output", "2026"]).output == "2026"


@pytest.mark.parametrize("text", ["#1: a", "a #b.jpg", "[x", "{", "'quoted'", "@", "yes", "- a"])
def test_text_is_taken_as_it_stands(text: str) -> None:
    """Names of images come from outside and may mean something in YAML."""
    assert load(Outer, None, ["--output", text]).output == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("outputt: x\n", "'outputt'; did you mean output?"),
        ("output: x\ninner: {windw: 1}\n", "'windw'; did you mean window?"),
        ("output: x\ninner: {window: 0}\n", "inner.window: Input should be greater"),
        ("inner: {window: 1}\n", "output: Field required"),
        ("- a\n- b\n", "holds a list"),
        ("output: [unclosed\n", "is not YAML"),
    ],
)
def test_a_bad_file_says_what_and_where(tmp_path: Path, text: str, message: str) -> None:
    config = write(tmp_path / "c.yaml", text)
    with pytest.raises(UserError) as caught:
        load(Outer, config)
    assert message in str(caught.value)
    assert "c.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--inner.windw", "1"], "did you mean inner.window?"),
        (["--limit"], "--limit needs a value"),
        (["limit", "1"], "unexpected argument 'limit'"),
        (["--output", "x", "--limit", "many"], "limit: Input should be a valid integer"),
    ],
)
def test_a_bad_option_says_what_and_where(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(Outer, None, arguments)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no settings file .*nowhere\.yaml"):
        load(Outer, tmp_path / "nowhere.yaml")


def test_the_digest_follows_the_values_alone() -> None:
    one = Outer(output="x", inner=Inner(window=64))
    assert digest(one) == digest(one.model_dump(mode="json"))
    assert digest(one) != digest(Outer(output="x"))
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Outer(output="x").limit = 3  # type: ignore[misc]


def test_flat_and_described_names_agree() -> None:
    names = list(flat(Outer(output="x")))
    assert names == ["output", "names", "limit", "inner.window"]
    text = describe(Outer)
    assert all(f"--{name} " in text for name in names)
