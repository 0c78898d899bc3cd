"""Variants follow from the axes, and are named by what tells them apart."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from forensics.evaluate.study.settings import (
    LocalizationStudy,
    PredictionStudy,
    Variant,
    names,
    neighbours,
)


def test_variants_are_the_product_of_the_axes_each_once() -> None:
    study = LocalizationStudy(
        camera_models="m",
        predictors=("lse", "cnn", "lse"),
        strategies=("sw-ss", "m-slic"),
        slic_sides=(32,),
        decisions=("stm",),
        jpeg_qualities=(None, 90),
        retrained=(True,),
    )
    found = study.variants()
    assert len(found) == len(set(found)) == 2 * 3 * 2
    assert found[0] == Variant("lse", "sw-ss", "stm", None, True)
    assert [v.strategy for v in found[:3]] == ["sw-ss", "m-slic", "slic-32px"]
    assert [v.jpeg_quality for v in found] == [None] * 6 + [90] * 6  # each is recompressed once
    assert PredictionStudy(camera_models="m").variants() == (
        Variant("lse"),
        Variant("ffn"),
        Variant("cnn"),
    )


def test_names_say_what_differs() -> None:
    two = [Variant("lse", "sw-ss", "crf", 90), Variant("cnn", "sw-ss", "crf")]
    assert list(names(two).values()) == ["lse, JPEG 90", "cnn, as is"]
    assert names([Variant("best", "m-slic", "stm")]) == {Variant("best", "m-slic", "stm"): "best"}


def test_only_variants_that_differ_in_one_axis_are_compared() -> None:
    a, b, c = Variant("lse", decision="stm"), Variant("cnn", decision="stm"), Variant("cnn")
    assert neighbours([a, b, c]) == [(a, b), (b, c)]
    assert neighbours([Variant("lse", jpeg_quality=90), Variant("lse")]) != []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategies": ()}, "nothing to compare"),
        ({"strategies": ("sw-xx",)}, "sw-ss"),
        ({"jpeg_qualities": (101,)}, "less than or equal to 100"),
        ({"predictors": ()}, "at least 1 item"),
        ({"decisions": ("magic",)}, "'threshold', 'stm' or 'crf'"),
    ],
)
def test_what_cannot_be_compared_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LocalizationStudy(camera_models="m", **settings)
