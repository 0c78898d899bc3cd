from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from forensics.report.page import render_page
from tests.report.pages import HOSTILE, SUMMARY, picture, rows


class Elements(HTMLParser):
    """Every element with its attributes and the text directly in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs), []))

    def handle_data(self, data):
        if self.found:
            self.found[-1][2].append(data)

    def all(self, tag):
        return [(attrs, "".join(text)) for name, attrs, text in self.found if name == tag]


@pytest.fixture(scope="module")
def page():
    return render_page(rows(), SUMMARY)


def embedded(page):
    texts = [text for attrs, text in Elements(page).all("script") if attrs.get("id") == "data"]
    assert len(texts) == 1
    return json.loads(texts[0])


def test_rows_are_listed_worst_first_and_none_is_lost(page):
    listed = embedded(page)["rows"]
    assert [r["score"] for r in listed[:4]] == [0.75, 0.5, 0.25, None]
    assert {r["id"] for r in listed} == {r.image_id for r in rows()}
    assert listed[0]["detectors"]["prnu"]["tampered_area"] == 0.25
    assert embedded(page)["counts"] == dict(SUMMARY.counts)


def test_names_from_outside_add_no_element(page):
    quiet = render_page([], replace(SUMMARY, title="t", digest="d", versions={}))
    here, there = Elements(page), Elements(quiet)
    for tag in {name for name, _, _ in here.found}:
        extra = 2 if tag == "script" else 0  # the two pictures
        assert len(here.all(tag)) == len(there.all(tag)) + extra, tag
    assert {r["uri"].split("/", 3)[-1] for r in embedded(page)["rows"]} >= set(HOSTILE)


def test_the_page_is_ascii_safe_utf8_and_has_no_outside_resource(page):
    assert page.encode("utf-8")
    for tag in ("link", "iframe", "object", "img", "base"):
        assert not Elements(page).all(tag)
    assert not any("src" in attrs for attrs, _ in Elements(page).all("script"))
    style = Elements(page).all("style")[0][1]
    assert "url(" not in style
    assert "@import" not in style


def test_the_script_never_makes_markup_of_text(page):
    (script,) = [text for attrs, text in Elements(page).all("script") if not attrs]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", script)


def test_the_policy_admits_only_the_pages_own_script_and_style(page):
    (policy,) = [
        attrs["content"]
        for attrs, _ in Elements(page).all("meta")
        if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    style = re.search(r"<style>(.*?)</style>", page, re.S).group(1)
    script = re.search(r"<script>(.*?)</script>", page, re.S).group(1)
    hashes = [
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for text in (style, script)
    ]
    assert policy == (
        f"default-src 'none'; img-src 'self' data:; style-src {hashes[0]}; script-src {hashes[1]}; "
        "base-uri 'none'; form-action 'none'"
    )


def test_pictures_are_in_the_page_or_named_beside_it():
    listed = [replace(row, thumbnail=b"small") if row.picture else row for row in rows()]
    listed[0] = replace(listed[0], file="0123456789abcdef" * 2)
    page = render_page(listed, SUMMARY)
    pictures = {a["id"]: t for a, t in Elements(page).all("script") if "data-mime" in a}
    assert pictures.keys() == {"picture-0", "thumbnail-0", "picture-1", "thumbnail-1"}
    assert base64.b64decode(pictures["picture-0"]) == picture()
    assert base64.b64decode(pictures["thumbnail-1"]) == b"small"
    found = {r["id"]: (r["picture"], r["file"]) for r in embedded(page)["rows"]}
    assert found["id-1"] == (0, None)
    assert found["id-2"] == (1, None)
    assert found["id-0"] == (None, "0123456789abcdef" * 2)
    assert found["id-3"] == (None, None)


@pytest.mark.parametrize("name", ["../../../etc/passwd", "", "A" * 32, "0" * 32 + "/x"])
def test_what_is_no_name_of_a_picture_is_refused(name):
    with pytest.raises(ValueError, match=r"id-1: .* is no name of a picture"):
        render_page([replace(rows()[1], file=name)], SUMMARY)


def test_a_picture_of_an_active_type_is_refused():
    row = replace(rows()[1], picture=b"<svg/>", picture_mime="image/svg+xml")
    with pytest.raises(ValueError, match=r"id-1: a picture is one of .* not 'image/svg\+xml'"):
        render_page([row], SUMMARY)


def test_the_same_rows_in_any_order_give_the_same_page(page):
    assert render_page(rows()[::-1], SUMMARY) == page
