"""Issue 3: a browser's session with login and upload in the demo's applications, and pages with all that belongs to them."""
import urllib.parse

import pytest
from conftest import needs
from demo import apps, needs_flask, needs_gitweb, needs_php, needs_pools  # noqa: F401
from http_client import wait_until
from webdriver import WAIT_S, Browser

pytestmark = [needs_pools, needs("chromium"), needs("chromedriver")]
CONTENT = bytes(range(256)) * 12_000  # 3 MB, no text
PICTURES, SCRIPTS = 24, 6
RESOURCES = "return performance.getEntriesByType('resource').map(e => [new URL(e.name).pathname, e.responseStatus])"
BROKEN_PICTURES = "return [...document.images].filter(i => !i.complete || i.naturalWidth === 0).map(i => i.src)"


@pytest.fixture
def browser(apps):
    made = Browser(f"http://127.0.0.1:{apps.port}")
    yield made
    made.close()
    assert not made.processes()


def enter(browser, name, password):
    browser.find("input[name=name]").type(name)
    browser.find("input[name=password]").type(password)
    browser.find("form[action*=login] button").click()


# Both have the same pages: a form to enter, one to leave, one to keep a file, a list of files.
@pytest.mark.parametrize("home, name, password", [
    pytest.param("/flask/", "ada", "engine", id="flask", marks=needs_flask), pytest.param("/php/index.php", "grace", "hopper", id="php", marks=needs_php)])
def test_a_session_with_login_upload_download_and_logout(browser, tmp_path, home, name, password):
    go_through_a_session(browser, tmp_path, home, name, password)


def go_through_a_session(browser, tmp_path, home, name, password):
    coat = tmp_path / "coat.bin"
    coat.write_bytes(CONTENT)
    assert browser.open(home) == 200
    enter(browser, name, "wrong")
    browser.wait_text("That is not it.")
    enter(browser, name, password)
    assert "coat.bin" not in browser.wait_text(f"You are {name}, and have been here 1 times.")
    assert browser.open(home) == 200
    assert f"You are {name}, and have been here 2 times." in browser.text(), "the browser gave its cookie back"
    assert any(cookie["httpOnly"] for cookie in browser.command("GET", "/cookie")) and browser.run("return document.cookie") == ""

    browser.find("input[type=file]").type(coat)
    browser.find("input[name=note]").type("<b>moth</b> & son")
    browser.find("form[enctype] button").click()
    browser.wait_text("Kept coat.bin: <b>moth</b> & son")

    link = browser.find("li a[href*='coat.bin']")
    target = urllib.parse.urlsplit(link.property("href"))
    link.click()
    fetched = browser.downloads / "coat.bin"  # it has this name only when it is whole
    wait_until(lambda: fetched.exists() and fetched.stat().st_size, WAIT_S, what="the download ends")
    assert fetched.read_bytes() == CONTENT

    browser.find("form[action*=logout] button").click()
    page = browser.wait_text("Enter")
    assert name not in page and "coat.bin" not in page
    assert browser.open(f"{target.path}?{target.query}") == 403, "the session is over"


def assert_whole(browser, wanted):
    """Everything that belongs to the page came, can be shown, and the browser found nothing to complain of."""
    loaded = browser.run(RESOURCES)
    assert {path for path, _ in loaded} >= wanted
    assert [entry for entry in loaded if entry[1] != 200] == []
    assert browser.run(BROKEN_PICTURES) == []
    log = browser.command("POST", "/se/log", {"type": "browser"})
    assert [entry["message"] for entry in log if entry["level"] in ("SEVERE", "WARNING")] == []


def test_a_page_of_many_pictures_and_scripts(apps, browser):
    site = apps.state / "site"
    for i in range(PICTURES):
        (site / f"picture{i}.svg").write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="{i + 1}" height="9"/>')
    for i in range(SCRIPTS):
        (site / f"script{i}.js").write_text(f"document.body.dataset.said = (document.body.dataset.said || '') + '{i}'\n" + "// so that it is long\n" * 5000)
    (site / "many.html").write_text(
        '<!doctype html><meta charset="utf-8"><title>many</title><link rel="icon" href="favicon.svg"><link rel="stylesheet" href="style.css"><body>'
        + "".join(f'<img src="picture{i}.svg">' for i in range(PICTURES)) + "".join(f'<script src="script{i}.js"></script>' for i in range(SCRIPTS)))
    assert browser.open("/many.html") == 200
    assert_whole(browser, {"/style.css", *(f"/picture{i}.svg" for i in range(PICTURES)), *(f"/script{i}.js" for i in range(SCRIPTS))})
    assert browser.run("return document.body.dataset.said") == "".join(map(str, range(SCRIPTS)))
    assert browser.run("return [...document.images].map(i => i.naturalWidth)") == list(range(1, PICTURES + 1))


def test_the_page_of_the_demo_and_the_list_of_applications(browser):
    assert browser.open("/") == 200
    assert_whole(browser, {"/style.css", "/flow.svg"})
    assert browser.open("/apps.html") == 200
    browser.find("a[href='/php/index.php']").click()
    browser.wait_text("Cloakroom")


@needs_gitweb
def test_gitweb_with_its_style_script_and_logo(browser):
    assert browser.open("/gitweb") == 200
    assert "demo.git" in browser.text()
    assert_whole(browser, {"/gitweb-static/gitweb.css", "/gitweb-static/gitweb.js", "/gitweb-static/git-logo.png"})
