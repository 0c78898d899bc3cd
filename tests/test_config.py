"""Settings from file and command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

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
    image: str | None = None
    inner: Inner = Inner()


class More(Outer):
    extra: Inner | None = None


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
    with pytest.raises(UserError, match=r"--inner\.window has no place: inner is 'large' already"):
        load(Outer, given, ["--inner.window", "3"])
    with pytest.raises(UserError, match="inner: Input should be a valid dictionary"):
        load(Outer, parts, ["--inner", "small"])


def test_a_folder_named_like_a_number_stays_text() -> None:
    assert load(Outer, None, ["--output", "2026"]).output == "2026"


@pytest.mark.parametrize(
    "text", ["#1: a", "a #b.jpg", "[x", "{", "'quoted'", "@", "yes", "- a", "null", "~", "None"]
)
def test_text_is_taken_as_it_stands(text: str) -> None:
    """Names of images come from outside and may mean something in YAML."""
    assert load(Outer, None, ["--output", text]).output == text
    assert load(Outer, None, ["--output", "x", "--image", text]).image == text


def test_an_option_can_take_back_what_the_file_says(tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", "output: x\nimage: a\nlimit: 3\nextra: {window: 3}\n")
    loaded = load(More, config, ["--image", "", "--limit", "null"])
    assert (loaded.image, loaded.limit, loaded.extra) == (None, None, Inner(window=3))


def test_an_empty_section_has_nothing_in_it(tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", "output: x\ninner:\nextra:\n")
    assert load(More, config) == More(output="x")
    options = ["--inner.window", "64", "--extra.window", "32"]
    expected = More(output="x", inner=Inner(window=64), extra=Inner(window=32))
    assert load(More, config, options) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("outputt: x\n", "'outputt'; did you mean output?"),
        ("output: x\ninner: {windw: 1}\n", "'windw'; did you mean window?"),
        ("output: x\ninner: {window: 0}\n", "inner.window: Input should be greater"),
        ("inner: {window: 1}\n", "output: Field required"),
        ("output: x\ninner: 5\n", "inner: Input should be a valid dict"),
        ("1: x\n", "unknown setting 1"),
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
        (["--output", "x", "--limit", "[1"], "option --limit: '[1' is no value"),
        (["--output", "x", "--names", "[a"], "option --names: '[a' is no value"),
    ],
)
def test_a_bad_option_says_what_and_where(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(Outer, None, arguments)
    assert message in str(caught.value)


def test_an_option_below_what_is_no_section_is_refused(tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", "output: x\ninner: 5\n")
    with pytest.raises(UserError, match=r"--inner\.window has no place: inner is 5 already"):
        load(Outer, config, ["--inner.window", "64"])


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


def test_a_section_given_in_part_keeps_the_rest_of_its_own_default(tmp_path: Path) -> None:
    class Pair(Settings):
        window: int = 128
        stride: int = 8
        shape: tuple[int, ...] = (1, 2)

    class Middle(Settings):
        pair: Pair = Pair(stride=2)
        scale: float = 1.0
        files: dict[str, str] = Field(default_factory=dict)

    class Job(Settings):
        middle: Middle = Middle(pair=Pair(window=16), scale=3.0, files={"a": "b"})
        other: Middle | None = None

    file = write(tmp_path / "a.yaml", "middle:\n  files: {c: d}\n  pair:\n    shape: [5]\n")
    loaded = load(Job, file, ["--middle.pair.stride", "4"])
    assert loaded.middle == Middle(
        pair=Pair(window=16, stride=4, shape=(5,)), scale=3.0, files={"c": "d"}
    )
    assert loaded.other is None
    assert load(Job, None, ["--other.pair.window", "7"]).other == Middle(
        pair=Pair(window=7, stride=2)
    )


def test_flat_and_described_names_agree() -> None:
    names = list(flat(Outer(output="x")))
    assert names == ["output", "names", "limit", "image", "inner.window"]
    text = describe(Outer)
    assert all(f"--{name} " in text for name in names)


def test_help_tells_choices_and_the_defaults_that_hold() -> None:
    class Choosy(Settings):
        inner: Inner = Inner(window=7)
        device: Literal["auto", "cpu"] = Field("auto", description="where it runs")
        mode: Literal["fast", "exact"] = Field("fast", description="fast, or exact but slow")
        workers: int | None = Field(None, description="processes [one per core]")
        limit: int | None = Field(None, description="rows")
        names: tuple[str, ...] = Field(("a", "b"), description="what for")
        output: str = Field(description="folder")

    lines = [" ".join(line.split()) for line in describe(Choosy).splitlines()]
    assert lines == [
        "--output folder [required]",
        "--inner.window pixels [7]",
        "--device where it runs (one of auto, cpu) [auto]",
        "--mode fast, or exact but slow [fast]",
        "--workers processes [one per core]",
        "--limit rows [none]",
        "--names what for [a,b]",
    ]
