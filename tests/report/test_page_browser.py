"""The page in headless Chromium, from a file."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from forensics.report.page import PageRow, render_page
from tests.report.pages import HOSTILE, SUMMARY, rows
from tests.report.test_page_calibrated import CALIBRATED, calibrated_rows

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (extra `dev`)")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

pytestmark = pytest.mark.browser

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs the Debian packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    folder = str(tmp_path_factory.mktemp("downloads"))
    options.add_experimental_option("prefs", {"download.default_directory": folder})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(executable_path=driver)) as chrome:
        chrome.downloads = Path(folder)
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
        marked = page.find_elements(By.CSS_SELECTOR, ".row[aria-selected=true]")
        assert [row.get_attribute("title") for row in marked] == [name]
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
    assert browser.find_element(By.CSS_SELECTOR, ".row[aria-selected=true]").is_displayed()
    assert len(browser.find_elements(By.CSS_SELECTOR, ".row")) < 60


def test_a_calibrated_page_filters_what_is_flagged_and_orders_by_rarity(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(render_page(calibrated_rows(), CALIBRATED), encoding="utf-8")
    browser.get(path.as_uri())
    assert CALIBRATED.note in browser.find_element(By.ID, "note").text
    names = [node.text for node in browser.find_elements(By.CSS_SELECTOR, ".row .name")]
    assert names[:4] == ["rare.jpg", "tied-high.jpg", "tied-low.jpg", "common.jpg"]
    numbers = [node.text for node in browser.find_elements(By.CSS_SELECTOR, ".row .number")]
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
    numbers = [node.text for node in browser.find_elements(By.CSS_SELECTOR, ".row .number")]
    assert numbers[:2] == ["0.99", "0.90"]
    assert browser.get_log("browser") == []


def saved(browser, count):
    """The file that the button gives."""
    button = browser.find_element(By.ID, "save")
    assert button.text == f"Save {count} decision{'s'[: count != 1]}"
    before = set(browser.downloads.iterdir())
    button.click()
    end = time.monotonic() + 20
    while not (new := set(browser.downloads.glob("*.json")) - before):
        assert time.monotonic() < end
        time.sleep(0.1)
    return json.loads(new.pop().read_text())


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

    browser.refresh()  # nothing is lost before it is saved
    kept = saved(browser, 2)
    assert kept["run"] == "abcdef0123"
    assert kept["decisions"][0]["reason"] == "sky 1 2 3"
    select = Select(browser.find_element(By.ID, "decided"))
    select.select_by_value("no")
    assert listed(browser) == f"{len(shown) - 3} of {len(shown)} images"
    select.select_by_value("yes")
    assert listed(browser) == f"3 of {len(shown)} images"
    assert browser.get_log("browser") == []
