"""Issue §6: hosts, virtual directories, routes, what may be reached in them, and how it is presented."""
import gzip
import html.parser
import json
import os
import re
import threading
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from conftest import needs_root
from http_client import wait_until
from instance import JSON_LOG, ONE_SITE, Instance

SYSTEM_TYPES = Path("/etc/mime.types")


def sites(*names, default=None):
    lines = [f"site.{n}.root = {{WWW}}/{n}" for n in names]
    return "\n".join(lines) + (f"\nserver.default_site = {default}\n" if default else "\n")


# --- which site -------------------------------------------------------------------------------


HOSTS = sites("exact", "below", "deep") + ("site.exact.hosts = www.example.org example.org\nsite.below.hosts = *.example.org\n"
                                           "site.deep.hosts = *.deep.example.org\n")
FOUND = {
    "www.example.org": "exact", "example.org": "exact", "WWW.Example.ORG": "exact", "www.example.org:8080": "exact", "www.example.org.": "exact",
    "a.example.org": "below", "a.b.example.org": "below", "x.deep.example.org": "deep", "deep.example.org": "below", "A.DEEP.EXAMPLE.org": "deep",
    "xexample.org": None, "example.org.evil.example": None, "example.com": None, "127.0.0.1": None, "[::1]": None,
}


@pytest.fixture(scope="module")
def hosted():
    with Instance(HOSTS + JSON_LOG) as server:
        for name in ("exact", "below", "deep"):
            server.put(f"{name}/who.txt", name)
        yield server.start()


@pytest.mark.parametrize("host", FOUND)
def test_the_host_names_the_site(hosted, host):
    response = hosted.fetch("/who.txt", host=host)
    if FOUND[host] is None:
        assert response.status == 400
    else:
        assert (response.status, response.body.decode()) == (200, FOUND[host])


def test_a_host_without_a_site_is_400_and_has_a_record(hosted):
    before = len(hosted.settled_records())
    for _ in range(10):
        assert hosted.fetch("/who.txt?nobody", host="nobody.example").status == 400
    records = wait_until(lambda: (lambda r: r if len(r) >= 10 else None)(hosted.records()[before:]))
    assert len(records) == 10 and {r["reason"] for r in records} == {"Hostname"}


def test_a_default_site_takes_the_rest(make):
    server = make(sites("a", "rest", default="rest") + "site.a.hosts = a.example\n", files={"a/who.txt": "a", "rest/who.txt": "rest"})
    assert server.fetch("/who.txt", host="a.example").body == b"a"
    assert server.fetch("/who.txt", host="b.example").body == b"rest"
    assert server.fetch("/who.txt", host=None, version="HTTP/1.0").body == b"rest"


def test_http_1_0_without_a_host_and_without_a_default_site_is_400(hosted):
    assert hosted.fetch("/who.txt", host=None, version="HTTP/1.0").status == 400


def test_the_target_names_the_host_where_it_has_one(hosted):
    assert hosted.fetch("http://www.example.org/who.txt", host="a.example.org").body == b"exact"


def test_thousands_of_hosts(make):
    names = [f"host{n}.example" for n in range(9000)]
    server = make("site.many.root = {WWW}\nsite.many.hosts = " + " ".join(names) + "\n", files={"a.txt": "a"})
    for name in names[::1500]:
        assert server.fetch("/a.txt", host=name).status == 200
    assert server.fetch("/a.txt", host="host9000.example").status == 400


# --- which folder -----------------------------------------------------------------------------

ROUTES = ONE_SITE + """
site.main.route.vdir.prefix = /v/
site.main.route.vdir.root = {DIR}/elsewhere
site.main.route.deeper.prefix = /v/deep/
site.main.route.deeper.root = {DIR}/third
site.main.route.kept.prefix = /kept/
site.main.route.kept.header.X-Route = kept
site.main.route.kept.cache_control = max-age=60
site.main.route.old.prefix = /old/
site.main.route.old.handler = redirect
site.main.route.old.to = /new$path$query
site.main.route.out.prefix = /out
site.main.route.out.handler = redirect
site.main.route.out.to = https://example.org/x
site.main.route.out.status = 308
site.main.route.gone.prefix = /gone/
site.main.route.gone.handler = status
site.main.route.gone.status = 410
site.main.header.X-Site = yes
site.main.cache_control = no-cache
"""


@pytest.fixture(scope="module")
def routed():
    with Instance(ROUTES + JSON_LOG) as server:
        for folder, name in (("elsewhere", "a.txt"), ("elsewhere/deep", "a.txt"), ("third", "a.txt")):
            (server.dir / folder).mkdir(exist_ok=True)
            (server.dir / folder / name).write_text(folder)
        server.put("a.txt", "root")
        server.put("kept/a.txt", "kept")
        server.put("v/a.txt", "hidden by the route")
        server.put("vx.txt", "vx")
        yield server.start()


@pytest.mark.parametrize("target, body", [("/a.txt", "root"), ("/v/a.txt", "elsewhere"), ("/v/deep/a.txt", "third"), ("/v/./deep/../a.txt", "elsewhere"),
                                          ("/kept/a.txt", "kept"), ("/vx.txt", "vx"), ("/%76/a.txt", "elsewhere")])
def test_the_longest_prefix_takes_the_path(routed, target, body):
    assert routed.fetch(target).body.decode() == body


@pytest.mark.parametrize("target", ["/v/../a.txt/..", "/v/%2e%2e/%2e%2e/penstock.conf", "/v/none.txt"])
def test_a_virtual_directory_leads_nowhere_else(routed, target):
    assert routed.fetch(target).status in (400, 403, 404)


def test_fields_of_site_and_route(routed):
    response = routed.fetch("/kept/a.txt")
    assert (response["x-site"], response["x-route"], response["cache-control"]) == ("yes", "kept", "max-age=60")
    response = routed.fetch("/a.txt")
    assert (response["x-site"], response.all("x-route"), response["cache-control"]) == ("yes", [], "no-cache")


def test_fields_are_the_same_from_file_and_cache(routed):
    with routed.connect() as connection:
        answers = [connection.request("/kept/a.txt") for _ in range(5)]
    fields = [[f for f in a.fields if f[0] != "Date"] for a in answers]
    assert all(f == fields[0] for f in fields)


@pytest.mark.parametrize("target, status, location", [("/old/x/y.txt?q=1", 302, "/new/x/y.txt?q=1"), ("/old/", 302, "/new/"), ("/out", 308, "https://example.org/x"),
                                                      ("/old/%C3%A4", 302, "/new/%C3%A4")])
def test_redirects(routed, target, status, location):
    response = routed.fetch(target)
    assert response.status == status
    absolute = r"^http:" + r"//[^/]+"  # either form is right (RFC 9110 section 10.2.2)
    assert re.sub(absolute, "", response["location"]) == location


def test_a_redirect_cannot_be_split(routed):
    for target in ("/old/a%0d%0aX-Evil:%20yes", "/old/?a%0d%0aX-Evil:%20yes", "/old/a%0aX-Evil:yes"):
        response = routed.fetch(target)
        assert response.all("x-evil") == []


def test_a_status_route(routed):
    assert routed.fetch("/gone/anything").status == 410


def test_a_directory_is_redirected_to_its_slash(make):
    server = make(files={"dir/index.html": "in"})
    response = server.fetch("/dir?q=1")
    assert response.status == 301 and response["location"].endswith("/dir/?q=1")
    assert server.fetch("//dir")["location"].count("//") <= 1, "a location that begins with // leads to another host"


# --- what may be reached ----------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["none", "owner", "all"])
def test_symbolic_links(make, policy):
    server = make(ONE_SITE + f"site.main.symlinks = {policy}\n", files={"real.txt": "real", "folder/a.txt": "a"})
    (server.www / "inside.txt").symlink_to("real.txt")
    (server.www / "down").symlink_to("folder")
    (server.dir / "secret.txt").write_text("secret")
    (server.www / "outside.txt").symlink_to(server.dir / "secret.txt")
    (server.www / "up").symlink_to("..")
    (server.www / "loop").symlink_to("loop")
    inside = server.fetch("/inside.txt")
    assert (inside.status == 200) == (policy != "none")
    assert (server.fetch("/down/a.txt").status == 200) == (policy != "none")
    for target in ("/outside.txt", "/up/secret.txt", "/up/penstock.conf", "/loop"):
        response = server.fetch(target)
        assert response.status in (403, 404), target
        assert b"secret" not in response.body


@needs_root
def test_a_link_of_another_owner(make):
    server = make(ONE_SITE + "site.main.symlinks = owner\n", files={"real.txt": "real"})
    (server.www / "link.txt").symlink_to("real.txt")
    os.chown(server.www / "link.txt", 1, 1, follow_symlinks=False)
    assert server.fetch("/link.txt").status in (403, 404)


def test_dotfiles(make):
    files = {".secret": "s", ".git/config": "s", "a/.b/c.txt": "s", ".well-known/acme": "ok"}
    server = make(files=files)
    for target in ("/.secret", "/.git/config", "/a/.b/c.txt", "/%2esecret", "/.git/"):
        assert server.fetch(target).status in (403, 404), target
    assert server.fetch("/.well-known/acme").body == b"ok"
    server.cli("sysctl", "-w", "site.main.dotfiles=allow")
    assert server.fetch("/.secret").body == b"s"


def test_what_the_file_system_refuses_is_403(make):
    server = make(files={"private.txt": "p"})
    (server.www / "private.txt").chmod(0)
    expected = 403 if os.geteuid() == 0 else 403
    assert server.fetch("/private.txt").status == expected


def test_only_files_are_served(make):
    server = make(files={"a.txt": "a"})
    os.mkfifo(server.www / "fifo")
    assert server.fetch("/fifo").status in (403, 404)
    assert server.fetch("/a.txt/").status == 404
    assert server.fetch("/a.txt/b").status == 404


def test_a_name_too_long_for_the_file_system(make):
    server = make(ONE_SITE + "limits.segment_bytes = 2000\n")
    assert server.fetch("/" + "x" * 300).status in (404, 414)
    assert server.fetch("/" + "/".join(["x" * 200] * 30)).status in (404, 414)


# --- indexes and listings ---------------------------------------------------------------------


def test_the_first_index_found_answers(make):
    server = make(ONE_SITE + "site.main.index = first.html second.html\n", files={"a/second.html": "2", "b/first.html": "1", "b/second.html": "2", "c/x": "x"})
    assert server.fetch("/a/").body == b"2" and server.fetch("/b/").body == b"1"
    assert server.fetch("/c/").status == 403  # listing is off


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "a":
            self.found.append(dict(attributes)["href"])


NAMES = ["plain.txt", "two words.txt", "a<b>&\"c'.txt", "<script>alert(1)<script>.txt", "ümlaut.txt", "per%cent", "q?m#h", "javascript:alert(1)", "folder/x"]


def test_a_listing_for_people(make):
    server = make(ONE_SITE + "site.main.listing = 1\ndecode.double_escape = 1\n", files={f"list/{name}": name for name in NAMES} | {"list/.hidden": "h"})
    response = server.fetch("/list/")
    assert response.status == 200 and response["content-type"].startswith("text/html")
    links = Links()
    links.feed(response.body.decode())
    assert "script" not in links.tags
    for name in NAMES[:-1]:
        matching = [link for link in links.found if unquote(re.sub(r"^\./", "", link)) == name]
        assert len(matching) == 1, (name, links.found)
        target = "/list/" + re.sub(r"^\./", "", matching[0])
        assert server.fetch(target).body.decode() == name
        assert not matching[0].startswith("javascript:")
    assert any(unquote(link).rstrip("/").endswith("folder") and link.endswith("/") for link in links.found)
    assert not any("hidden" in link for link in links.found)


def test_a_listing_for_programs(make):
    server = make(ONE_SITE + "site.main.listing = 1\n", files={f"list/{name}": name for name in NAMES})
    response = server.fetch("/list/", fields=["Accept: application/json"])
    assert response["content-type"].startswith("application/json")
    entries = json.loads(response.body)
    entries = entries if isinstance(entries, list) else next(v for v in entries.values() if isinstance(v, list))
    assert {e["name"].rstrip("/") for e in entries} == {name.partition("/")[0] if name == "folder/x" else name for name in NAMES} - {"per%cent"}
    sizes = {e["name"]: e.get("size") for e in entries}
    assert sizes["plain.txt"] == len("plain.txt")
    assert "vary" in {name.lower() for name, _ in response.fields}


@pytest.mark.parametrize("request_line, ending", [("GET /list/ HTTP/1.0", ""), ("GET /list/ HTTP/1.1", "Connection: close\r\n"),
                                                  ("GET /list/ HTTP/1.1", ""), ("HEAD /list/ HTTP/1.1", "")])
def test_a_listing_that_any_version_of_satisfies_the_client_is_not_sent(make, request_line, ending):
    """RFC 9110 section 13.1.2: If-None-Match: * holds for whatever there is, validators or none."""
    server = make(ONE_SITE + "site.main.listing = 1\n", files={"list/a": "a"})
    pid = server.role("server")
    with server.connect() as connection:
        connection.send(f"{request_line}\r\nHost: x\r\nIf-None-Match: *\r\n{ending}\r\n")
        response = connection.read_response()
        assert (response.status, response.body) == (304, b"") and "date" in {name.lower() for name, _ in response.fields}
        if not ending and "1.1" in request_line:
            assert connection.request("/list/a").body == b"a"
    assert server.fetch("/list/").status == 200 and server.role("server") == pid


def test_a_listing_is_of_the_kind_that_each_client_wants(make):
    """Also where several ask for it at once: nobody gets another's."""
    server = make(ONE_SITE + "site.main.listing = 1\n")
    for number in range(3000):
        server.put(f"many/{number}", "")
    wanted = {"text/html": "text/html", "application/json": "application/json"}
    got = []

    def ask(accept):
        for _ in range(5):
            got.append((accept, server.fetch("/many/", fields=[f"Accept: {accept}"])["content-type"]))
    threads = [threading.Thread(target=ask, args=(accept,)) for accept in list(wanted) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 40 and [pair for pair in got if not pair[1].startswith(wanted[pair[0]])] == []


@needs_root
def test_a_listing_names_what_can_be_asked_for_and_served_and_nothing_else(make):
    server = make(ONE_SITE + "site.main.listing = 1\nsite.main.limits.segment_bytes = 40\n", files={"list/plain.txt": "p", "list/open/x": "x"})
    folder = server.www / "list"
    names = [b"not-utf8-\xff", b"back\\slash", b"control-\x01", b"double-%41", b"unreadable", "ümläut".encode(), b"n" * 40, b"n" * 41]
    for name in names:
        (Path(os.fsdecode(bytes(folder) + b"/" + name))).write_text("body")
    (folder / "closed").mkdir(mode=0o700)
    (folder / "unreadable").chmod(0o600)
    os.chown(folder / "unreadable", 0, 0)
    os.mkfifo(folder / "fifo")
    (folder / "dangling").symlink_to("nowhere")
    entries = json.loads(server.fetch("/list/", fields=["Accept: application/json"]).body)["entries"]
    for entry in entries:
        target = "/list/" + quote(entry["name"]) + ("/" if entry["type"] == "directory" else "")
        assert server.fetch(target).status == 200, target
    assert sorted(entry["name"] for entry in entries) == sorted(["plain.txt", "open", "ümläut", "n" * 40])


def test_a_listing_of_ten_thousand_entries(make):
    server = make(ONE_SITE + "site.main.listing = 1\n")
    folder = server.www / "many"
    folder.mkdir()
    for number in range(10000):
        (folder / f"file-{number:05}").touch()
    response = server.fetch("/many/")
    links = Links()
    links.feed(response.body.decode())
    assert len([link for link in links.found if "file-" in link]) == 10000


# --- types and error pages --------------------------------------------------------------------


@pytest.mark.parametrize("name, mime", [("a.html", "text/html; charset=utf-8"), ("a.txt", "text/plain; charset=utf-8"), ("a.css", "text/css; charset=utf-8"),
                                        ("a.png", "image/png"), ("a.svg", r"image/svg\+xml.*"), ("a.js", r"(text|application)/javascript.*"), ("a.JPG", "image/jpeg"),
                                        ("a.tar.gz", "application/(gzip|x-gzip)"), ("a.unknown-ext", "application/octet-stream"), ("README", "application/octet-stream"),
                                        ("a.woff2", "font/woff2"), ("a.json", "application/json.*"), ("a.wasm", "application/wasm")])
def test_media_types(make, name, mime):
    response = make(files={name: "x"}).fetch("/" + name)
    assert re.fullmatch(mime, response["content-type"], re.I), response["content-type"]


@pytest.mark.skipif(not SYSTEM_TYPES.exists(), reason=f"no {SYSTEM_TYPES}")
def test_media_types_of_the_system(make):
    """What only the system's table knows: most of its some 1,500."""
    own = (Path(__file__).resolve().parents[2] / "src/files/mime_types.def").read_text()
    lines = [line.split() for line in SYSTEM_TYPES.read_text().splitlines() if not line.startswith("#")]
    known = {extension: words[0] for words in reversed(lines) for extension in words[1:] if re.fullmatch("[a-z0-9]+", extension)}
    only = {extension: mime for extension, mime in sorted(known.items()) if not re.search(rf"\b{extension}\b", own)}
    assert len(only) > 100
    server = make(files={f"a.{extension}": "x" for extension in list(only)[::10]})
    for extension in list(only)[::10]:
        assert server.fetch(f"/a.{extension}")["content-type"].partition(";")[0].lower() == only[extension].lower(), extension


def test_media_types_of_our_own_and_the_policy_for_unknown_ones(make):
    server = make(ONE_SITE + "mime.gadget = application/x-gadget\nsite.main.unknown_type = deny\nsite.main.charset = iso-8859-1\n",
                  files={"a.gadget": "x", "a.unheard-of": "x", "a.txt": "x"})
    assert server.fetch("/a.gadget")["content-type"] == "application/x-gadget"
    assert server.fetch("/a.unheard-of").status == 404
    assert server.fetch("/a.txt")["content-type"] == "text/plain; charset=iso-8859-1"


def test_error_pages_of_the_site(make):
    server = make(ONE_SITE + JSON_LOG + "site.main.error_page.404 = /errors/404.html\nsite.main.error_page.403 = /errors/none.html\n",
                  files={"errors/404.html": "<p>our own 404", "dir/x": "x"})
    for _ in range(4):  # from the file, then from the cache
        response = server.fetch("/nothing/here")
        assert response.status == 404 and response.body == b"<p>our own 404" and response["content-type"].startswith("text/html")
        assert "etag" not in {n.lower() for n, _ in response.fields} or response.status == 404
    assert server.fetch("/nothing", method="HEAD").status == 404
    assert server.fetch("/nothing", fields=["If-None-Match: *", "Range: bytes=0-1"]).status == 404
    assert server.fetch("/dir/").status == 403  # a page that is missing does not make a loop


def test_error_pages_by_sub_status_come_from_the_cache(make, transport):
    """The page of the cause goes before that of the status; once it is hot no file is opened for it, nor where it is changed a stale one sent."""
    server = make(ONE_SITE + JSON_LOG + "site.main.error_page.404 = /e/any.html\nsite.main.error_page.404_8 = /e/hidden.html\nsite.main.error_page.405 = /e/method.html\n",
                  files={"e/any.html": "any", "e/hidden.html": "hidden", "e/method.html": "method", "a.txt": "a"}, transport=transport)
    rows = [("/none", "GET", 404, b"any"), ("/.secret", "GET", 404, b"hidden"), ("/a.txt", "POST", 405, b"method"), ("/.secret", "HEAD", 404, b"")]

    def ask():
        for target, method, status, body in rows:
            response = server.fetch(target, method=method)
            assert (response.status, response.body, response["content-length"]) == (status, body, str(len(body or b"hidden")))

    def opened():
        before = server.counter("files_opened")
        ask()
        return server.counter("files_opened") - before
    wait_until(lambda: opened() == 3, what="only what was asked for is looked for, thrice")
    assert [opened() for _ in range(5)] == [3] * 5
    server.put("e/new", "other").rename(server.www / "e/any.html")
    wait_until(lambda: server.fetch("/none").body == b"other", seconds=2)


OVERRIDES = [  # key, the site's value, the route's, target, what tells them apart, of the site and of the route
    ("symlinks", "all", "none", "/{}/link.txt", lambda r: r.status, 200, 403), ("symlinks", "none", "all", "/{}/link.txt", lambda r: r.status, 403, 200),
    ("dotfiles", "deny", "allow", "/{}/.dot", lambda r: r.status, 404, 200), ("dotfiles", "allow", "deny", "/{}/.dot", lambda r: r.status, 200, 404),
    ("listing", 0, 1, "/{}/empty/", lambda r: r.status, 403, 200), ("index", "one.html", "two.html", "/{}/", lambda r: r.body, b"one", b"two"),
    ("methods", "GET", "GET HEAD OPTIONS", "/{}/a.txt|OPTIONS", lambda r: r.status, 405, 204), ("unknown_type", "octet-stream", "deny", "/{}/a.unheard-of", lambda r: r.status, 200, 404),
    ("cache_control", "no-cache", "max-age=9", "/{}/a.txt", lambda r: r["cache-control"], "no-cache", "max-age=9"),
    ("precompressed", 1, 0, "/{}/a.txt", lambda r: r.get("content-encoding"), "gzip", None), ("precompressed", 0, 1, "/{}/a.txt", lambda r: r.get("content-encoding"), None, "gzip"),
]


def test_a_route_overrides_its_site_and_one_file_can_be_a_route(make):
    """CO1, VH3: site, then directory, then file; live."""
    files = {"link.txt": None, ".dot": "d", "one.html": "one", "two.html": "two", "empty/x": "x", "a.txt": "a" * 100, "a.txt.gz": gzip.compress(b"a" * 100), "a.unheard-of": "x"}
    server = make(ONE_SITE + "compress.enable = 0\nsite.main.route.r.prefix = /r/\n", files={f"{folder}/{name}": body for folder in "rs" for name, body in files.items() if body is not None})
    for folder in "rs":
        (server.www / folder / "link.txt").symlink_to("a.txt")

    def see(folder, target, tell):
        target, _, method = target.partition("|")
        return tell(server.fetch(target.format(folder), method=method or "GET", fields=["Accept-Encoding: gzip"]))
    for key, of_site, of_route, target, tell, in_site, in_route in OVERRIDES:
        server.sysctl(**{f"site__main__{key}": of_site})
        assert [see(folder, target, tell) for folder in "rs"] == [in_site] * 2, f"{key}: inherited"
        server.sysctl(**{f"site__main__route__r__{key}": of_route})
        assert [see(folder, target, tell) for folder in "rs"] == [in_route, in_site], key
        server.sysctl(**{f"site__main__route__r__{key}": "inherit", f"site__main__{key}": ""})
    server.sysctl(site__main__route__f__prefix="/s/a.txt", site__main__route__f__precompressed=0)
    assert [see(folder, "/{}/a.txt", lambda r: r.get("content-encoding")) for folder in "rs"] == ["gzip", None], "a route for one file"


def test_a_route_or_one_file_is_left_uncompressed(make, transport):
    """CO1: compress.enable, then the site's, the directory's, the file's; live. The neighbour shows that the compressor was there."""
    text = b"some words " * 400
    server = make(ONE_SITE + "site.main.route.r.prefix = /r/\nsite.main.route.f.prefix = /s/plain.txt\n",
                  files={f"{folder}/{name}.txt": text for folder in "rs" for name in ("a", "plain")}, transport=transport)
    names = ["/r/a.txt", "/r/plain.txt", "/s/a.txt", "/s/plain.txt"]

    def coded():
        return [server.fetch(name, fields=["Accept-Encoding: gzip"]).get("content-encoding") == "gzip" for name in names]

    def becomes(expected, **keys):
        server.sysctl(**keys)
        wait_until(lambda: coded() == expected, what=str(keys))
        assert [coded() for _ in range(5)] == [expected] * 5
    becomes([False, False, True, True], site__main__route__r__compress=0)
    becomes([False, False, True, False], site__main__route__f__compress=0)
    becomes([True, True, False, False], site__main__compress=0, site__main__route__r__compress=1)
    becomes([True, True, False, True], site__main__route__f__compress=1)
    becomes([False] * 4, compress__enable=0)


def test_an_error_answer_does_not_reflect_the_request(make):
    response = make().fetch("/%3Cscript%3Ealert(1)%3C/script%3E")
    assert response.status == 404 and b"<script>" not in response.body


def test_real_documents(make):
    """A real tree of the system: whatever a file is named, its bytes come back."""
    server = make("site.doc.hosts = *\nsite.doc.root = /usr/share/doc\nsite.doc.listing = 1\n")
    from urllib.parse import quote
    checked = 0
    with server.connect() as connection:
        for base, folders, names in os.walk("/usr/share/doc"):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(base, name)
                if checked < 400 and os.path.isfile(path) and not os.path.islink(path) and not name.startswith(".") and os.path.getsize(path) < 1 << 20:
                    response = connection.request(quote(path.removeprefix("/usr/share/doc")))
                    with open(path, "rb") as file:
                        assert response.status == 200 and response.body == file.read(), path
                    checked += 1
    assert checked > 20
