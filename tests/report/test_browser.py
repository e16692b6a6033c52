"""The page in a real browser: it opens from disk, is clicked through, read by axe-core, and asks for nothing."""

import contextlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="the extra browser is not installed: pip install 'nnvalue[browser]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")
from playwright.sync_api import sync_playwright  # noqa: E402 - after what skips without it

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
if CHROMIUM is None:
    pytest.skip("there is no Chromium on the PATH", allow_module_level=True)


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as driver:
        # A container's root has no sandbox to start; the page is our own.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(chromium, file, width=1280, scheme="light", script=True):
    """The page in a window of its own; leaves only if it said nothing on the console and asked for nothing."""
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=script,
        reduced_motion="reduce",
    )  # fmt: skip
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.goto(file.as_uri())
    yield page
    assert said == []
    assert asked == [file.as_uri()]
    context.close()


def test_it_is_clicked_through_without_an_error(chromium, page):
    with opened(chromium, page) as window:
        for link in window.locator("nav a").all():
            link.click()
            target = link.get_attribute("href")
            assert window.evaluate("location.hash") == target
            assert window.locator(target).bounding_box()["y"] < 800
        for summary in window.locator("summary").all():
            summary.click()
        before = window.evaluate("getComputedStyle(document.body).backgroundColor")
        window.locator("#theme").click()
        assert window.evaluate("getComputedStyle(document.body).backgroundColor") != before
        assert window.locator("#theme").inner_text() == "Light"
        window.locator("#theme").click()
        assert window.evaluate("getComputedStyle(document.body).backgroundColor") == before


def test_answers_are_searched_and_rows_filtered(chromium, page):
    with opened(chromium, page) as window:
        field = window.locator("[data-texts]")
        field.fill("NEURONS 2 negative po-2a")
        visible = window.locator(".exchange:visible")
        assert visible.count() == 1
        assert "neurons 2 negative po-2a" in visible.inner_text()
        assert window.locator(".texts output").inner_text() == "1 of 32"
        field.fill("no such words")
        assert window.locator(".exchange:visible").count() == 0
        assert window.locator(".texts").inner_text().split("\n")[-1].endswith("0 of 32")  # and not that all are shown
        field.fill("")
        assert window.locator(".exchanges:visible").count() == 8
        window.get_by_text("The strongest neurons").click()
        window.locator("[data-filter]").first.wait_for(state="attached")
        table = window.locator("details", has=window.get_by_text("The strongest neurons"))
        table.locator("[data-filter]").fill("tradition negative")
        rows = table.locator("tbody tr:visible")
        assert rows.count() == 5
        assert all("tradition" in row and "negative" in row for row in rows.all_inner_texts())


def test_pointing_and_arrow_keys_tell_the_same(chromium, page):
    with opened(chromium, page) as window:
        figure = window.locator("figure", has=window.get_by_text("Where value neurons lie", exact=True)).first
        figure.locator(".m").first.hover()
        pointed = figure.locator(".readout").inner_text()
        assert pointed.startswith("power +, layer 0: 3 selected")
        window.locator("h1").hover()
        figure.locator(".plot").focus()
        window.keyboard.press("ArrowRight")
        assert figure.locator(".readout").inner_text().startswith("power +, layer 1: 2 selected")
        window.keyboard.press("Home")
        assert figure.locator(".readout").inner_text() == pointed
        window.keyboard.press("End")
        assert figure.locator(".readout").inner_text().startswith("benevolence −, layer 3")


def test_what_a_mark_says_moves_nothing_below_it(chromium, page):
    with opened(chromium, page) as window:
        for title in ("Where value neurons lie", "Dose and response: neurons"):
            figure = window.locator("figure", has=window.get_by_text(title, exact=True)).first
            before = figure.bounding_box()["height"]
            figure.locator(".m").first.hover()
            assert figure.bounding_box()["height"] == before


def test_what_is_too_wide_says_so_until_it_is_scrolled(chromium, page):
    with opened(chromium, page, 390) as window:
        wide = window.locator("figure", has=window.get_by_text("A causal value graph by effects", exact=True)).first
        plot, hint = wide.locator(".plot"), wide.locator(".hint").first
        assert hint.is_visible()
        assert "more" in plot.get_attribute("class").split()
        plot.evaluate("one => { one.scrollLeft = one.scrollWidth }")
        window.wait_for_function("!document.querySelector('#graph .plot').classList.contains('more')")
    with opened(chromium, page) as window:
        assert window.locator("#graph .hint").first.is_hidden()


SIZES = """() => Array.from(document.querySelectorAll('.panels .tick, .panels .axis')).flatMap((text) => {
  const all = text.closest('svg'), scale = all.clientWidth / all.viewBox.baseVal.width;
  return scale ? [parseFloat(getComputedStyle(text).fontSize) * scale] : [];
})"""


def test_figures_of_panels_can_be_read(chromium, page):
    """Panels are scaled to their columns, and their labels with them: at 11 pixels at least."""
    for width in (1280, 390):
        with opened(chromium, page, width) as window:
            sizes = window.evaluate(SIZES)
            assert len(sizes) > 20
            assert min(sizes) >= 11


def test_a_keyboard_is_enough(chromium, page):
    """The first stop skips to the findings; from there on a figure, a table and a field can be reached by Tab."""
    with opened(chromium, page) as window:
        window.keyboard.press("Tab")
        assert window.evaluate("document.activeElement.className") == "skip"
        window.keyboard.press("Enter")
        assert window.evaluate("document.activeElement.id") == "main"
        reached = set()
        for _ in range(40):
            window.keyboard.press("Tab")
            reached.add(window.evaluate("document.activeElement.tagName + '.' + document.activeElement.className"))
        assert {"DIV.scroll plot", "SUMMARY."} <= reached
        window.locator("summary", has_text="The strongest neurons").focus()
        window.keyboard.press("Enter")
        window.keyboard.press("Tab")
        assert window.evaluate("document.activeElement.type") == "search"


CUT_OFF = """() => Array.from(document.querySelectorAll('svg[role=img] text')).filter((text) => {
  const own = text.getBoundingClientRect(), all = text.closest('svg').getBoundingClientRect();
  return own.left < all.left - 1 || own.right > all.right + 1 || own.top < all.top - 1 || own.bottom > all.bottom + 1;
}).map((text) => text.textContent)"""
ON_EACH_OTHER = """() => Array.from(document.querySelectorAll('svg[role=img]')).flatMap((picture) => {
  const level = Array.from(picture.querySelectorAll('text:not([transform])'));
  const boxes = level.map((text) => [text.textContent, text.getBoundingClientRect()]);
  return boxes.flatMap(([name, a], n) => boxes.slice(0, n).filter(([, b]) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3
  ).map(([other]) => `${name} | ${other}`));
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_runs_over_the_edge_and_axe_finds_no_fault(chromium, page, width, scheme):
    with opened(chromium, page, width, scheme) as window:
        window.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        assert window.evaluate("document.documentElement.scrollWidth") <= width
        if (width, scheme) in ((1280, "light"), (360, "dark")):  # both widths and both themes, at half the time
            found = axe.Axe().run(window).response["violations"]
            assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == [], found
            picture = window.screenshot(full_page=True)
            assert int.from_bytes(picture[16:20]) == width  # a full page grows where something runs over its edge
            assert window.evaluate(CUT_OFF) == []
            assert window.evaluate(ON_EACH_OTHER) == []


def test_without_a_script_everything_is_there(chromium, page):
    with opened(chromium, page, script=False) as window:
        assert window.locator("svg[role=img]:visible").count() > 10
        assert window.locator(".filter:visible, #theme:visible, .readout:visible").count() == 0
        window.locator(".exchanges > summary").first.click()
        assert window.locator(".exchange:visible").count() == 4
        window.get_by_text("The same as a table").first.click()
        assert window.locator("figure table:visible").count() >= 1


def test_it_prints_all_of_itself(chromium, page, tmp_path):
    with opened(chromium, page) as window:
        window.emulate_media(media="print")
        assert window.locator("nav").is_hidden()
        window.set_viewport_size({"width": 794, "height": 1123})  # A4
        window.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert window.evaluate("document.documentElement.scrollWidth") <= 794
        window.evaluate("dispatchEvent(new Event('afterprint'))")
        assert window.locator("details.exchanges[open]").count() == 0
        printed = window.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
        pages = len(re.findall(rb"/Type\s*/Page\b", printed))
        window.evaluate("document.querySelectorAll('details').forEach(one => one.remove())")
        without = len(re.findall(rb"/Type\s*/Page\b", window.pdf()))
        assert pages > without + 2  # what is closed on the screen is open on paper


def test_an_attack_is_text_in_a_browser(chromium, tmp_path):
    from nnvalue.report import build_report
    from tests.report import shelf

    shelf.evaluation(shelf.identity(name=shelf.HOSTILE), shelf.HOSTILE, judge=shelf.HOSTILE).save(tmp_path / "e")
    file = build_report([tmp_path / "e"], tmp_path / "r.html", title=shelf.HOSTILE).out
    with opened(chromium, file) as window:  # an alert would be a dialog, an image a request
        assert window.title().startswith("<script>alert(1)</script>")
        assert window.locator("script").count() == 1
        assert window.locator("img").count() == 0


def test_the_policy_stops_what_would_run_all_the_same(chromium, page, tmp_path):
    """If escaping failed one day: a script and an image that stand in the page neither run nor load."""
    file = tmp_path / "broken.html"
    attack = (
        "<script>document.title = 'taken'</script>"
        '<img src="https://example.org/x.png" onerror="document.title = \'taken\'">'
    )
    file.write_text(page.read_text().replace("<h1>", f"{attack}<h1>", 1))
    context = chromium.new_context()
    window, refused, answered = context.new_page(), {}, []
    window.on("requestfailed", lambda request: refused.update({request.url: request.failure}))
    window.on("response", lambda response: answered.append(response.url))
    window.goto(file.as_uri())
    window.wait_for_load_state()
    assert window.title() != "taken"
    assert refused == {"https://example.org/x.png": "csp"}
    assert answered == [file.as_uri()]
    context.close()


def test_the_pictures_of_the_documentation_are_made(chromium, page, tmp_path):
    """A heading that the script looks for by its words was renamed, and a picture is missing."""
    line = [sys.executable, "-m", "recipes.screenshots", str(page), "--out", str(tmp_path)]
    subprocess.run(line, check=True, cwd=Path(__file__).parents[2])
    made = {file.name for file in tmp_path.glob("*.png")}
    assert made == {file.name for file in (Path(__file__).parents[2] / "docs" / "images").glob("*.png")}
