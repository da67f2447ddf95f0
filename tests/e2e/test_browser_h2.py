"""Issue 5: a browser over HTTP/2 and TLS: a page of a hundred pictures, and a Flask application with login and upload."""
import pytest
from conftest import needs
from demo import FEATURES, made_apps, needs_flask, needs_pools
from instance import Instance, tls_lines
from test_browser import assert_whole, go_through_a_session
from webdriver import Browser

pytestmark = [pytest.mark.skipif(not FEATURES["http/2"]["available"], reason="this build does not speak HTTP/2"), needs("chromium"), needs("chromedriver")]
PICTURES = 100
PROTOCOLS = "return performance.getEntriesByType(arguments[0]).map(e => e.nextHopProtocol)"


@pytest.fixture
def browse(tmp_path):
    """browse(prepare) → an instance and a browser at its https side, where prepare(instance, lines of TLS) starts it."""
    made = []

    def build(prepare):
        lines, secure = tls_lines(tmp_path)
        instance = Instance()
        made.append(instance.remove)
        prepare(instance, lines)
        browser = Browser(f"https://localhost:{secure.port}", "--ignore-certificate-errors")
        made.append(browser.close)
        return instance, browser

    yield build
    for end in reversed(made):
        end()


def protocols(browser, kind):
    return browser.run(PROTOCOLS.replace("arguments[0]", repr(kind)))


def test_a_page_of_a_hundred_pictures(browse):
    def prepare(server, lines):
        server.write_config("site.main.hosts = *\nsite.main.root = {WWW}\n" + lines)
        for i in range(PICTURES):
            server.put(f"picture{i}.svg", f'<svg xmlns="http://www.w3.org/2000/svg" width="{i + 1}" height="9"/>')
        server.put("many.html", '<!doctype html><meta charset="utf-8"><title>many</title><link rel="icon" href="picture0.svg"><body>'
                   + "".join(f'<img src="picture{i}.svg">' for i in range(PICTURES)))
        server.start()

    server, browser = browse(prepare)
    before = server.counter("connections_accepted")
    assert browser.open("/many.html") == 200
    assert_whole(browser, {f"/picture{i}.svg" for i in range(PICTURES)})
    assert browser.run("return [...document.images].map(i => i.naturalWidth)") == list(range(1, PICTURES + 1))
    assert protocols(browser, "navigation") == ["h2"]
    assert len(loaded := protocols(browser, "resource")) >= PICTURES and set(loaded) == {"h2"}
    assert server.counter("connections_accepted") - before <= 4, "they share a connection"


@needs_pools
@needs_flask
def test_a_session_with_a_flask_application(browse, tmp_path):
    _, browser = browse(made_apps)
    go_through_a_session(browser, tmp_path, "/flask/", "ada", "engine")
    assert protocols(browser, "navigation") == ["h2"]
