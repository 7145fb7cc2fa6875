"""The page in a real browser: every tab, by mouse and by keyboard, wide and narrow, light and dark.

Needs Debian's chromium: make system.
"""

import base64
import re
import shutil
from pathlib import Path

import pytest

from tests.lazy import lazy

axe = lazy("axe_playwright_python.sync_playwright")
playwright = lazy("playwright.sync_api")

PICTURE = Path(__file__).parents[2] / "assets" / "example.jpg"
CHROMIUM = shutil.which("chromium")
PATIENCE = 120_000  # milliseconds

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: make system"),
]


def expect(part):
    return playwright.expect(part)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )
        yield found
        found.close()


@pytest.fixture
def visit(browser, served):
    """Opens the page; at the end nothing may have gone wrong or have left this machine."""
    contexts, wrong = [], []

    def opened(address="", **options):
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        context.grant_permissions(["clipboard-read", "clipboard-write", "camera"])
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: None if at_home(r.url) else wrong.append(r.url))
        page.goto(served.url + address)
        page.locator("#examples button").first.wait_for(state="attached")
        return page

    def at_home(url):
        return url.startswith((served.url, "data:", "blob:"))

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


def open_tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def bars(page):
    return page.locator("#result .bars li")


def test_a_picture_is_classified_and_answers_follow_the_typing(visit):
    page = visit()
    expect(bars(page)).to_have_count(12, timeout=PATIENCE)  # the first example
    page.get_by_label("Remove Image").click()
    expect(page.locator("#result")).to_contain_text("Drop an image", timeout=PATIENCE)
    page.locator("#picture input[type=file]").set_input_files(PICTURE)
    expect(bars(page)).to_have_count(12, timeout=PATIENCE)
    shares = [float(text.split()[0]) for text in page.locator("#result .value").all_inner_texts()]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=1)
    page.locator("#categories textarea").fill("a seal\na horse <b>\nein Hund")
    expect(bars(page)).to_have_count(3, timeout=PATIENCE)
    expect(page.locator("#result")).to_contain_text("a horse <b>")
    page.locator("#categories textarea").fill("a seal, a horse")
    expect(page.locator("#result")).to_contain_text("a line of its own", timeout=PATIENCE)
    page.locator("#categories textarea").fill("")
    expect(page.get_by_role("alert")).to_contain_text("Found no category", timeout=PATIENCE)


def test_a_category_shows_where_it_is(visit):
    page = visit()
    maps = page.locator("#where [data-place]")
    expect(maps).to_have_count(12, timeout=PATIENCE)
    expect(page.locator("#where [data-place]:visible")).to_have_attribute("data-place", "0")
    bar = page.locator("#result .bars button").nth(2)
    bar.hover()
    expect(page.locator("#where [data-place]:visible")).to_have_attribute("data-place", "2")
    name = bar.locator(".text").inner_text()
    expect(page.locator("#where strong")).to_have_text(name)
    page.locator("#result .bars button").nth(4).focus()
    expect(page.locator("#where [data-place]:visible")).to_have_attribute("data-place", "4")
    page.get_by_label("Show where in the image").uncheck()
    expect(maps).to_have_count(0, timeout=PATIENCE)
    page.get_by_label("Show where in the image").check()
    page.locator("#categories textarea").fill("a seal")
    expect(maps).to_have_count(1, timeout=PATIENCE)


def shown(page):
    """The name of the image's file."""
    return (page.locator("#picture img").get_attribute("src") or "").rpartition("/")[2]


def test_a_picture_is_pasted_wherever_the_focus_is(visit):
    page = visit()
    expect(bars(page)).to_have_count(12, timeout=PATIENCE)
    page.locator("#categories textarea").focus()
    page.evaluate(PASTE, base64.b64encode(PICTURE.read_bytes()).decode())
    picture = page.locator("#picture img")
    expect(picture).to_have_attribute("src", re.compile("pasted.jpg"), timeout=PATIENCE)
    expect(bars(page)).to_have_count(12, timeout=PATIENCE)


def test_the_clipboard_is_read_by_its_button(visit):
    page = visit()
    expect(bars(page)).to_have_count(12, timeout=PATIENCE)
    before = shown(page)
    page.evaluate(COPY)
    page.get_by_label("Remove Image").click()
    page.get_by_label("Paste from clipboard").click()
    expect(page.locator("#picture img")).to_be_visible(timeout=PATIENCE)
    assert shown(page) != before
    expect(bars(page)).to_have_count(12, timeout=PATIENCE)


def test_the_webcam_takes_a_picture(visit):
    page = visit()
    expect(bars(page)).to_have_count(12, timeout=PATIENCE)
    before = page.locator("#result").inner_text()
    page.get_by_label("Capture from camera").click()
    page.locator("#picture").get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#picture video')?.videoWidth > 0")
    page.get_by_label("capture photo").click()
    expect(page.locator("#picture img")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#result")).not_to_have_text(before, timeout=PATIENCE)
    expect(bars(page)).to_have_count(12)


# what a browser does when an image is on the clipboard and somebody presses Ctrl+V
PASTE = """(base64) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], 'pasted.jpg', {type: 'image/jpeg'}));
    document.activeElement.dispatchEvent(
        new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true}));
}"""
COPY = """async () => {
    const canvas = new OffscreenCanvas(64, 64);
    canvas.getContext('2d').fillRect(8, 8, 30, 40);
    const blob = await canvas.convertToBlob({type: 'image/png'});
    await navigator.clipboard.write([new ClipboardItem({'image/png': blob})]);
}"""


def test_a_file_that_is_no_picture_is_told_and_the_page_goes_on(visit, tmp_path):
    page = visit()
    broken = tmp_path / "broken.bmp"
    broken.write_text("no image")
    expect(bars(page)).to_have_count(12, timeout=PATIENCE)
    page.get_by_label("Remove Image").click()
    page.locator("#picture input[type=file]").set_input_files(broken)
    expect(page.get_by_role("alert")).to_contain_text("not an image", timeout=PATIENCE)
    page.locator("#examples button").first.click()
    expect(bars(page)).to_have_count(12, timeout=PATIENCE)


def test_several_pictures_give_a_heat_strip(visit, folder):
    page = visit()
    page.get_by_text("Several images at once").click()
    page.locator("#more input[type=file]").set_input_files(sorted(folder.iterdir()))
    rows = page.locator("#result .heat tbody tr")
    expect(rows).to_have_count(4, timeout=PATIENCE)
    expect(rows.first.locator("td")).to_have_count(12)


def test_presets_come_in_the_languages_of_the_model(visit):
    page = visit()
    page.get_by_label("Its language").click()
    page.get_by_role("option", name="Deutsch").click()
    expect(page.locator("#categories textarea")).to_have_value(re.compile("^Seehund\n"))
    page.get_by_label("Preset").click()
    page.get_by_role("option", name="Places").click()
    expect(page.locator("#categories textarea")).to_have_value(re.compile("^am Strand\n"))
    expect(page.locator("#result")).to_contain_text("unter Wasser", timeout=PATIENCE)
    open_tab(page, "Search")
    expect(page.locator("#languages")).to_contain_text("English, Deutsch.")
    page.get_by_text("Stern", exact=True).click()
    expect(page.locator("#hits .tile").first).to_contain_text("0.", timeout=PATIENCE)


def test_search_finds_and_finds_more_like_it(visit):
    page = visit("?tab=search")
    hits = page.locator("#hits .tile")
    expect(hits).to_have_count(4, timeout=PATIENCE)
    expect(page.locator("#hits")).to_contain_text("Describe an image to find it")
    page.locator("#query").get_by_role("textbox").fill("something blue -a dog")
    expect(hits.first).to_contain_text("0.", timeout=PATIENCE)
    expect(page.locator("#hits .chip")).to_have_text(["something blue +1", "a dog -0.5"])
    name = hits.nth(2).get_attribute("data-name")
    hits.nth(2).locator(".alike").click()
    expect(page.locator("#hits .chip").first).to_contain_text(name, timeout=PATIENCE)
    expect(hits).to_have_count(3)
    page.locator("#hits .unlike").click()
    expect(hits).to_have_count(4, timeout=PATIENCE)
    page.locator("#filters button").first.click()
    page.get_by_role("textbox", name="Taken since").fill("soon")
    expect(page.get_by_role("alert")).to_contain_text("expected a date", timeout=PATIENCE)


def test_hits_open_large_and_come_without_end(visit):
    page = visit("?tab=search&query=a+dog")
    page.get_by_label("Images", exact=True).click()
    page.get_by_role("option", name="bundled images").click()
    tiles = page.locator("#hits .tile")
    expect(tiles).to_have_count(24, timeout=PATIENCE)
    page.locator("#hits .more").scroll_into_view_if_needed()
    expect(tiles).not_to_have_count(24, timeout=PATIENCE)
    found = tiles.evaluate_all("all => all.map((each) => each.dataset.token)")
    assert len(set(found)) == len(found) > 24
    tiles.first.locator(".open").click()
    image = page.locator("#lightbox img")
    page.wait_for_function("document.querySelector('#lightbox img').naturalWidth > 100")
    expect(page.locator("#lightbox .title")).to_have_text(tiles.first.get_attribute("data-name"))
    page.keyboard.press("ArrowRight")
    expect(image).to_have_attribute("src", f"/photos/{found[1]}/1600")
    page.get_by_role("button", name="Copy path").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    path = tiles.nth(1).get_attribute("data-path")
    assert page.evaluate("navigator.clipboard.readText()") == path and Path(path).is_file()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes() == Path(path).read_bytes()
    page.keyboard.press("Escape")
    expect(page.locator("#lightbox")).not_to_be_visible()


def test_compare_and_explain(visit):
    page = visit("?example=a-seal-on-the-beach")
    expect(bars(page)).to_have_count(12, timeout=PATIENCE)
    open_tab(page, "Compare")
    summary = page.locator("#summary")
    expect(summary).to_contain_text(re.compile("Waiting for small|comes first"), timeout=PATIENCE)
    expect(summary).to_contain_text("category comes first", timeout=PATIENCE)
    expect(page.get_by_role("tabpanel").locator(".answer h3")).to_have_count(2)
    open_tab(page, "How it works")
    cells = page.locator("#matrix tbody td")
    expect(cells).to_have_count(49, timeout=PATIENCE)
    page.get_by_label("Which text for an image").check()
    expect(cells.first).to_contain_text("%", timeout=PATIENCE)
    row = page.locator("#matrix tbody tr").first.locator("td").all_inner_texts()
    assert sum(int(text.rstrip("%")) for text in row) == pytest.approx(100, abs=4)


def test_a_link_carries_the_settings(visit):
    page = visit()
    page.locator("#categories textarea").fill("ein Hund\neine Katze & ein Fuß")
    page.locator("#examples button").nth(3).click()
    expect(bars(page)).to_have_count(2, timeout=PATIENCE)
    open_tab(page, "Search")
    page.wait_for_url(re.compile("example=.*tab=search|tab=search.*example="))
    page.locator("#share").click()
    expect(page.locator("#share")).to_have_text("Copied")
    link = page.evaluate("navigator.clipboard.readText()")
    other = visit("?" + link.partition("?")[2])
    expect(other.get_by_role("tab", selected=True)).to_have_text("Search")
    open_tab(other, "Zero-shot")
    expect(other.locator("#categories textarea")).to_have_value("ein Hund\neine Katze & ein Fuß")
    expect(bars(other)).to_have_count(2, timeout=PATIENCE)


def test_a_link_carries_the_filters_of_a_search(visit):
    page = visit("?tab=search&query=a+camera")
    page.locator("#filters button").first.click()
    page.get_by_label("Below folder").fill("2019/summer")
    page.wait_for_url(re.compile("under=2019%2Fsummer"))
    least = page.locator("#filters input[type=number]")
    least.fill("0.3")
    least.press("Tab")
    page.wait_for_url(re.compile("least=0.3"))
    other = visit("?" + page.url.partition("?")[2])
    expect(other.get_by_label("Below folder")).to_be_visible()
    expect(other.get_by_label("Below folder")).to_have_value("2019/summer")
    expect(other.locator("#filters input[type=number]")).to_have_value("0.3")


def test_a_link_with_nonsense_opens_the_usual_page(visit):
    page = visit("?tab=%3Cscript%3E&model=/etc/passwd&example=../../x&least=nan&images=/&other=1")
    expect(page.get_by_role("tab", selected=True)).to_have_text("Zero-shot")
    expect(bars(page)).to_have_count(12, timeout=PATIENCE)


def test_everything_can_be_reached_by_keyboard(visit):
    page = visit()
    reached = []
    for _ in range(45):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
        if reached[-1] == "examples":
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
            break
    assert {"model", "share", "tabs", "picture"} <= set(reached), reached
    page.wait_for_url("**example=a-man-astronaut**")
    expect(bars(page)).to_have_count(12, timeout=PATIENCE)
    page.get_by_role("tab", name="Zero-shot").focus()
    for name in ("Search", "Compare", "How it works", "API"):
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("tab", selected=True)).to_have_text(name)


# the part of the page that has the focus; whoever looks must see where that is
FOCUSED = """() => {
    const part = document.activeElement.closest('#model, #share, #examples, #picture, [role=tab]');
    return part ? part.id && part.getAttribute('role') !== 'tab' ? part.id : 'tabs' : '';
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_tab_is_accessible_and_fits(visit, scheme, width):
    page = visit(
        "?example=a-seal-on-the-beach&query=a+dog",
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
    )
    expect(bars(page)).to_have_count(12, timeout=PATIENCE)
    found = {}
    for name in ("Zero-shot", "Search", "Compare", "How it works", "API"):
        tab = page.get_by_role("tab", name=name, exact=True)
        if not tab.is_visible():  # a narrow page keeps some behind "..."
            page.locator(".overflow-menu > button").click()
            tab = page.locator(".overflow-dropdown button", has_text=name)
        tab.click()
        # an answer that is being replaced is faded on purpose
        expect(page.locator(".pending")).to_have_count(0, timeout=PATIENCE)
        page.wait_for_timeout(500)  # colours fade
        results = axe.Axe().run(
            page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
        )
        for violation in results.response["violations"]:
            found[name, violation["id"]] = [node["html"][:200] for node in violation["nodes"]]
        overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert overflow <= 0, name
    assert not found
