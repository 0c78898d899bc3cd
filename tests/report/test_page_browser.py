"""The page in headless Chromium, from a file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from forensics.report.page import PageRow, render_page
from tests.browser import chromium
from tests.report.pages import HOSTILE, SUMMARY, picture, rows
from tests.report.test_page_calibrated import CALIBRATED, calibrated_rows

pytest.importorskip("selenium.webdriver", reason="needs selenium (extra `dev`)")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.patience import until

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("browser")) as chrome:
        yield chrome


@pytest.fixture
def page(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(render_page(rows(), SUMMARY), encoding="utf-8")
    browser.get(path.as_uri())
    yield browser
    assert browser.get_log("browser") == []  # no script error, nothing stopped by the policy


def chosen(page):
    return page.find_element(By.TAG_NAME, "h2").text


def listed(page):
    return page.find_element(By.ID, "found").text


def each(page, selector, what):
    """``what`` of the elements, at one moment: the list is drawn anew at any time."""
    script = f"return [...document.querySelectorAll(arguments[0])].map(node => node.{what})"
    return page.execute_script(script, selector)


def body(page):
    return page.find_element(By.TAG_NAME, "body")


def test_opens_with_the_worst_image_and_its_picture(page):
    assert chosen(page) == "IMG_1.jpg"
    image = page.find_element(By.CSS_SELECTOR, ".frame img")
    page.execute_async_script("arguments[0].decode().then(arguments[1])", image)
    assert image.get_property("naturalWidth") > 0
    yellow, cyan = page.execute_script(
        """const image = arguments[0], canvas = document.createElement("canvas");
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        const p = context.getImageData(0, 0, canvas.width, canvas.height).data;
        let yellow = 0, cyan = 0;
        for (let k = 0; k < p.length; k += 4) {
          if (p[k] > 200 && p[k + 1] > 200 && p[k + 2] < 190) yellow += 1;
          if (p[k] < 60 && p[k + 1] > 190 && p[k + 2] > 210) cyan += 1;
        }
        return [yellow, cyan];""",
        image,
    )
    assert yellow > 3000  # 56 x 80 pixels were tampered with certainty
    assert cyan > 100
    text = page.find_element(By.ID, "detail").text
    for part in ("s3://bucket/2024/IMG_1.jpg", "1" * 64, "4,000 × 3,000", "Camera 1", "0.750"):
        assert part in text
    assert "tampered area" in text
    assert "camera A, pce 123.4" in text


def test_names_from_outside_are_text_and_run_nothing(page):
    title = page.title
    assert title == SUMMARY.title
    page.find_element(By.CSS_SELECTOR, "[data-status=not_applicable]").click()
    seen = set()
    for _ in HOSTILE:
        seen.add(page.find_element(By.CSS_SELECTOR, ".path").text.split("/", 3)[-1])
        body(page).send_keys("j")
    assert page.title == title
    assert not page.find_elements(By.CSS_SELECTOR, ".detail b, .detail svg, .row img, .row b")
    for name in HOSTILE[:5]:
        assert name in seen
    assert "photo⟨U+202E⟩gnp.exe" in seen
    assert "not-utf8-⟨U+DC80⟩.jpg" in seen
    assert "🕵🏽‍♀️ 📷.webp" in seen


def test_keys_move_the_selection(page):
    for key, name in [
        ("j", "IMG_2.jpg"),
        (Keys.ARROW_DOWN, "IMG_0.jpg"),
        ("k", "IMG_2.jpg"),
        (Keys.ARROW_UP, "IMG_1.jpg"),
        (Keys.ARROW_UP, "IMG_1.jpg"),
    ]:
        body(page).send_keys(key)
        assert chosen(page) == name
        assert each(page, ".row[aria-selected=true]", "title") == [name]
    body(page).send_keys("z")
    assert page.find_elements(By.CSS_SELECTOR, ".frame.actual")
    body(page).send_keys("/")
    page.switch_to.active_element.send_keys("jk")  # letters in the search field are a search
    assert page.find_element(By.ID, "search").get_property("value") == "jk"


def test_filters_by_status_score_and_words(page):
    total = len(rows())
    assert listed(page) == f"{total} images"
    page.find_element(By.CSS_SELECTOR, "[data-status=ok]").click()
    assert listed(page) == f"4 of {total} images"
    slide = "const s = arguments[0]; s.value = 0.6; s.dispatchEvent(new Event('input'))"
    page.execute_script(slide, page.find_element(By.ID, "threshold"))
    assert listed(page) == f"1 of {total} images"
    assert chosen(page) == "IMG_1.jpg"
    page.find_element(By.CSS_SELECTOR, "#by option[value=camera]").click()
    assert listed(page) == f"1 of {total} images"
    assert chosen(page) == "IMG_0.jpg"
    page.find_element(By.ID, "search").send_keys("nothing like this")
    assert listed(page) == f"0 of {total} images"
    page.find_element(By.CSS_SELECTOR, ".detail button").click()
    assert listed(page) == f"{total} images"
    page.find_element(By.ID, "search").send_keys("camera IMG_2")  # both words, any case
    assert listed(page) == f"1 of {total} images"
    assert chosen(page) == "IMG_2.jpg"


def test_thousands_of_rows_keep_only_those_in_sight(browser, tmp_path):
    many = [
        PageRow(f"i{k}", f"/a/{k:05d}.jpg", "ok", score=k / 5000, detectors={"x": {"score": 0.1}})
        for k in range(5000)
    ]
    path = tmp_path / "many.html"
    path.write_text(render_page(many, replace(SUMMARY, counts={"ok": 9000})), encoding="utf-8")
    browser.get(path.as_uri())
    assert "9,000 images scanned, 5,000 listed here" in browser.page_source
    assert len(browser.find_elements(By.CSS_SELECTOR, ".row")) < 60
    browser.find_element(By.ID, "list").send_keys(Keys.END)
    assert chosen(browser) == "00000.jpg"
    assert each(browser, ".row[aria-selected=true]", "checkVisibility()") == [True]
    assert len(browser.find_elements(By.CSS_SELECTOR, ".row")) < 60


def test_a_calibrated_page_filters_what_is_flagged_and_orders_by_rarity(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(render_page(calibrated_rows(), CALIBRATED), encoding="utf-8")
    browser.get(path.as_uri())
    assert CALIBRATED.note in browser.find_element(By.ID, "note").text
    names = each(browser, ".row .name", "textContent")
    assert names[:4] == ["rare.jpg", "tied-high.jpg", "tied-low.jpg", "common.jpg"]
    numbers = each(browser, ".row .number", "textContent")
    assert numbers[:5] == ["0.5 %", "2 %", "2 %", "40 %", "–"]
    detail = browser.find_element(By.ID, "detail").text
    assert "0.5 % of pristine images score as high: flagged" in detail
    flagged = browser.find_element(By.CSS_SELECTOR, "[data-status=flagged]")
    assert flagged.text.split() == ["flagged", "1"]
    flagged.click()
    assert listed(browser) == "1 of 7 images"
    assert chosen(browser) == "rare.jpg"
    browser.find_element(By.CSS_SELECTOR, "[data-status='']").click()
    assert listed(browser) == "7 images"
    browser.find_element(By.ID, "by").send_keys("prnu")
    numbers = each(browser, ".row .number", "textContent")
    assert numbers[:2] == ["0.99", "0.90"]
    assert browser.get_log("browser") == []


def saved(browser, count):
    """The file that the button gives."""
    button = browser.find_element(By.ID, "save")
    assert button.text == f"Save {count} decision{'s'[: count != 1]}"
    before = set(browser.downloads.iterdir())
    button.click()
    new = until(lambda: set(browser.downloads.glob("*.json")) - before)
    return json.loads(new.pop().read_text())


def reopened(browser):
    """Whether the page, loaded again, has decisions: a browser stores when it finds the time."""
    browser.refresh()
    return browser.execute_script("return document.getElementById('save')?.hidden === false")


def test_a_reviewer_decides_by_keys_and_saves_a_file(browser, tmp_path):
    decided = {"decision": "unclear", "reason": "<b>dim</b>", "reviewer": "C", "decided": "x"}
    shown = [replace(row, decision=decided if row.image_id == "id-0" else None) for row in rows()]
    path = tmp_path / "page.html"
    path.write_text(render_page(shown, replace(SUMMARY, digest="abcdef0123")), encoding="utf-8")
    browser.get(path.as_uri())
    assert not browser.find_element(By.ID, "save").is_displayed()
    body(browser).send_keys("1")
    reason, reviewer = browser.find_elements(By.CSS_SELECTOR, ".decision input")
    reason.send_keys("sky 1 2 3")
    reviewer.send_keys("A. B.")
    browser.find_element(By.TAG_NAME, "h2").click()
    body(browser).send_keys("j", "2", "j")
    assert chosen(browser) == "IMG_0.jpg"
    assert "unclear · <b>dim</b> · C" in browser.find_element(By.CSS_SELECTOR, ".decision").text
    body(browser).send_keys("3", "0")  # taken back: the earlier one holds
    first, second = saved(browser, 2)["decisions"]
    assert (first["image_id"], first["decision"], first["reason"]) == (
        "id-1",
        "forged",
        "sky 1 2 3",
    )
    assert (second["image_id"], second["decision"]) == ("id-2", "pristine")
    assert (first["sha256"], second["reviewer"]) == ("1" * 64, "A. B.")

    until(lambda: reopened(browser))  # nothing is lost before it is saved
    kept = saved(browser, 2)
    assert kept["run"] == "abcdef0123"
    assert kept["decisions"][0]["reason"] == "sky 1 2 3"
    select = Select(browser.find_element(By.ID, "decided"))
    select.select_by_value("no")
    assert listed(browser) == f"{len(shown) - 3} of {len(shown)} images"
    select.select_by_value("yes")
    assert listed(browser) == f"3 of {len(shown)} images"
    assert browser.get_log("browser") == []


def decided_page(path, digest, **merged):
    """A page of a run of its own; ``merged``: the decision on ``id-1``, the first of the list."""
    earlier = {
        "decision": "forged",
        "reason": "Alice's reason",
        "reviewer": "Alice",
        "decided": "2026-03-02T07:00:00.000+00:00",
        **merged,
    }
    shown = [replace(row, decision=earlier if row.image_id == "id-1" else None) for row in rows()]
    path.write_text(render_page(shown, replace(SUMMARY, digest=digest)), encoding="utf-8")
    return path.as_uri()


def pressed(browser):
    """What the card of the chosen image says is decided."""
    return each(browser, ".choices [aria-pressed=true]", "dataset.decision")


def test_who_overrules_a_decision_does_not_speak_with_its_reason(browser, tmp_path):
    ahead = "2999-01-01T00:00:00.000+00:00"  # the other machine's clock is wrong
    browser.get(decided_page(tmp_path / "page.html", "a1", decided=ahead))
    card = ".decision"
    assert "Alice's reason · Alice · 2999-01-01 00:00 UTC" in (
        browser.find_element(By.CSS_SELECTOR, card).text
    )
    body(browser).send_keys("2")
    reason, reviewer = browser.find_elements(By.CSS_SELECTOR, ".decision input")
    assert reason.get_property("value") == ""
    assert "in the run: forged · Alice's reason" in browser.find_element(By.CSS_SELECTOR, card).text
    reviewer.send_keys("Bob")
    [one] = saved(browser, 1)["decisions"]
    assert (one["decision"], one["reason"], one["reviewer"]) == ("pristine", "", "Bob")
    assert one["decided"] > ahead  # so it holds when it is merged
    until(lambda: reopened(browser))
    assert pressed(browser) == ["pristine"]
    assert browser.get_log("browser") == []


def test_an_edit_is_a_later_decision_of_who_makes_it(browser, tmp_path):
    browser.get(decided_page(tmp_path / "page.html", "a2"))
    body(browser).send_keys("1")
    reason, reviewer = browser.find_elements(By.CSS_SELECTOR, ".decision input")
    reviewer.send_keys("Bob")
    [first] = saved(browser, 1)["decisions"]
    reason.send_keys("shadows")
    [second] = saved(browser, 1)["decisions"]
    assert second["decided"] > first["decided"]
    assert second["reason"] == "shadows"
    browser.find_element(By.TAG_NAME, "h2").click()
    body(browser).send_keys("j", "1")  # another reviewer sits down
    name = browser.find_elements(By.CSS_SELECTOR, ".decision input")[1]
    name.send_keys(Keys.BACKSPACE * 3, "Eve")
    browser.find_element(By.TAG_NAME, "h2").click()
    body(browser).send_keys("k")
    reason, reviewer = browser.find_elements(By.CSS_SELECTOR, ".decision input")
    assert reviewer.get_property("value") == "Bob"
    reason.send_keys("!")
    assert reviewer.get_property("value") == "Eve"
    reasons = {one["image_id"]: one for one in saved(browser, 2)["decisions"]}
    assert reasons["id-1"]["reason"] == "shadows!"
    assert reasons["id-1"]["reviewer"] == "Eve"


@pytest.fixture
def tabs(browser):
    """Opens an address in two tabs, and closes the second in the end."""
    first = browser.current_window_handle

    def opened(uri):
        browser.get(uri)
        browser.switch_to.new_window("tab")
        browser.get(uri)
        return first, browser.current_window_handle

    yield opened
    for handle in browser.window_handles:
        if handle != first:
            browser.switch_to.window(handle)
            browser.close()
    browser.switch_to.window(first)


def test_two_tabs_lose_nothing_of_each_other(browser, tmp_path, tabs):
    first, second = tabs(decided_page(tmp_path / "page.html", "a3"))
    browser.switch_to.window(first)
    body(browser).send_keys("1", "j", "1")
    browser.switch_to.window(second)
    until(lambda: browser.find_element(By.ID, "save").text == "Save 2 decisions")
    assert pressed(browser) == ["forged"]
    body(browser).send_keys("2")  # overrules the first tab, which shows another image
    body(browser).send_keys("j", "j", "3")
    browser.switch_to.window(first)
    until(lambda: browser.find_element(By.ID, "save").text == "Save 3 decisions")
    made = {one["image_id"]: one["decision"] for one in saved(browser, 3)["decisions"]}
    assert made == {"id-1": "pristine", "id-2": "forged", "id-0": "unclear"}
    body(browser).send_keys("0")  # taken back in one is taken back in both
    browser.switch_to.window(second)
    until(lambda: browser.find_element(By.ID, "save").text == "Save 2 decisions")
    until(lambda: reopened(browser))
    made = {one["image_id"]: one["decision"] for one in saved(browser, 2)["decisions"]}
    assert made == {"id-1": "pristine", "id-0": "unclear"}
    assert browser.get_log("browser") == []


def test_what_was_merged_since_holds_over_what_this_browser_kept(browser, tmp_path):
    path = tmp_path / "page.html"
    browser.get(decided_page(path, "a4"))
    body(browser).send_keys("1")
    [made] = saved(browser, 1)["decisions"]
    until(lambda: reopened(browser))
    assert pressed(browser) == ["forged"]
    later = "2999-01-01T00:00:00.000+00:00"
    browser.get(decided_page(path, "a4", decision="pristine", decided=later))
    assert pressed(browser) == ["pristine"]
    assert not browser.find_element(By.ID, "save").is_displayed()
    browser.get(decided_page(path, "a4"))  # a page of before: what was never merged is still there
    assert pressed(browser) == ["forged"]
    browser.get(decided_page(path, "a4", **{k: made[k] for k in ("decision", "decided")}))
    assert not browser.find_element(By.ID, "save").is_displayed()  # it is in the run
    asks = "return Object.keys(localStorage).filter(key => key.includes(' a4 ')).length"
    assert browser.execute_script(asks) == 0


LEAVING = """const leaving = new Event("beforeunload", {cancelable: true});
window.dispatchEvent(leaving); return leaving.defaultPrevented"""


@pytest.mark.parametrize("works", [True, False])
def test_a_browser_that_keeps_nothing_says_so_and_asks_before_it_closes(browser, tmp_path, works):
    refuse = "Storage.prototype.setItem = () => { throw new DOMException('full') }"
    script = browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "" if works else refuse}
    )
    try:
        browser.get(decided_page(tmp_path / "page.html", f"a5{works}"))
        warning = browser.find_element(By.ID, "unkept")
        assert not browser.execute_script(LEAVING)
        assert not warning.is_displayed()  # there is nothing to lose yet
        body(browser).send_keys("1")
        assert browser.execute_script(LEAVING) is not works
        assert warning.is_displayed() is not works
        saved(browser, 1)
        assert not browser.execute_script(LEAVING)
        assert not warning.is_displayed()
        body(browser).send_keys("0")
        assert browser.execute_script(LEAVING) is not works  # the file still has it
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
        browser.get("about:blank")


def beside(tmp_path, browser, names):
    """A page whose rows have pictures beside it; those of ``names`` are there."""
    many = [
        PageRow(f"i{k}", f"/a/{k:03d}.jpg", "ok", score=1 - k / 100, width=9, file=f"{k:032x}")
        for k in range(100)
    ]
    many[1] = replace(many[1], file=None, missing="the original is another file now")
    many[2] = replace(many[2], file=None)
    (tmp_path / "pictures").mkdir()
    for k in names:
        for end in (".webp", "-small.webp"):
            (tmp_path / "pictures" / f"{k:032x}{end}").write_bytes(picture())
    path = tmp_path / "page.html"
    summary = replace(SUMMARY, counts={"ok": 100}, more="python -m jobs.report --run 'a b'")
    path.write_text(render_page(many, summary), encoding="utf-8")
    browser.get(path.as_uri())


def wait(browser, script):
    until(lambda: browser.execute_script("return " + script))


SHOWN = "(i => i && i.complete && i.naturalWidth > 0)(document.querySelector('.frame img'))"


def test_pictures_beside_the_page_come_when_their_row_does(browser, tmp_path):
    beside(tmp_path, browser, range(100))
    wait(browser, SHOWN)
    wait(browser, "document.querySelectorAll('.tile img').length > 5")
    near = browser.find_element(By.CSS_SELECTOR, ".frame img").get_attribute("src")
    assert near == (tmp_path / "pictures" / f"{0:032x}.webp").as_uri()
    assert len(browser.find_elements(By.CSS_SELECTOR, ".tile img")) < 40  # not the whole list
    body(browser).send_keys("j")
    assert "No picture: the original is another file now." in body(browser).text
    assert len(browser.find_elements(By.CSS_SELECTOR, ".tile.gone")) == 1
    body(browser).send_keys("j")
    assert "No picture of this image was made" in body(browser).text
    command = browser.find_element(By.CSS_SELECTOR, ".nothing .code").text
    assert command == "python -m jobs.report --run 'a b'"
    browser.find_element(By.ID, "list").send_keys(Keys.END)
    wait(browser, SHOWN)
    far = browser.find_element(By.CSS_SELECTOR, ".frame img").get_attribute("src")
    assert far.endswith(f"{99:032x}.webp")
    wait(browser, "document.querySelector('.row[aria-selected=true] .tile img').naturalWidth > 0")
    assert browser.get_log("browser") == []  # the policy lets them through


def test_a_page_without_its_folder_says_so(browser, tmp_path):
    beside(tmp_path, browser, [])
    wait(browser, "document.querySelectorAll('.tile.gone').length > 5")
    wait(browser, "!document.querySelector('.frame')")
    said = browser.find_element(By.CSS_SELECTOR, ".detail .nothing").text
    assert f"a file that is not here: pictures/{0:032x}.webp" in said
    browser.get_log("browser")


def test_a_page_without_pictures_has_no_place_for_them(browser, tmp_path):
    path = tmp_path / "page.html"
    bare = [replace(row, picture=None) for row in rows()]
    path.write_text(render_page(bare, SUMMARY), encoding="utf-8")
    browser.get(path.as_uri())
    assert not browser.find_elements(By.CSS_SELECTOR, ".tile")
    assert chosen(browser) == "IMG_1.jpg"
