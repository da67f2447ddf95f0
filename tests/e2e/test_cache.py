"""Issue §7: what is cached, why not, how it is shown and emptied."""
import gzip
import json
import os
import re
import threading
import time

import pytest
from h2_client import H2Client
from http_client import Connection, wait_until
from instance import JSON_LOG, LONG, ONE_SITE, resident

SETTLED = time.time() - 3600


@pytest.fixture
def server(make, transport):
    server = make(ONE_SITE + JSON_LOG, transport=transport, start=False)
    for name, body in {"index.html": "home", "a.txt": "a" * 500, "b.txt": "b", "dir/index.html": "dir", "dir/c.txt": "c", "big.bin": b"x" * (5 << 20)}.items():
        os.utime(server.put(name, body), (SETTLED, SETTLED))
    return server.start()


def verdicts(server, count):
    return [r["cache"] for r in server.wait_records(count)]


def is_hit(verdict):
    return verdict.startswith("hit")


def test_the_second_request_fills_and_the_third_hits(server):
    for _ in range(4):
        assert server.fetch("/a.txt").body == b"a" * 500
    seen = verdicts(server, 4)
    assert not is_hit(seen[0]) and not is_hit(seen[1]) and is_hit(seen[2]) and is_hit(seen[3]), seen
    assert seen[0] != seen[1]


def test_two_requests_too_far_apart_do_not_fill(make, transport):
    server = make(ONE_SITE + JSON_LOG + "cache.admit_window = 300ms\n", transport=transport)
    os.utime(server.put("a.txt", "a"), (SETTLED, SETTLED))
    for _ in range(3):
        server.fetch("/a.txt")
        time.sleep(0.8)
    assert not any(map(is_hit, verdicts(server, 3)))


@pytest.mark.parametrize("admit, hits", [("always", [False, True, True]), ("never", [False, False, False])])
def test_admission_is_a_live_key(server, admit, hits):
    server.sysctl(cache__admit=admit)
    for _ in hits:
        server.fetch("/b.txt")
    assert list(map(is_hit, verdicts(server, len(hits)))) == hits


def warmed(server, target, times=3):
    """How many records there are after some requests for `target`."""
    before = len(server.records())
    for _ in range(times):
        server.fetch(target)
    return len(server.wait_records(before + times))


@pytest.mark.parametrize("how", [
    dict(target="/", ), dict(target="/dir/"), dict(target="/a.txt", method="HEAD"), dict(target="/a.txt", fields=["Range: bytes=1-5"]),
    dict(target="/a.txt", fields=["Range: bytes=900-"]), dict(target="/a.txt", fields=["If-None-Match: *"]), dict(target="/a.txt", fields=["If-Match: \"x\""]),
    dict(target="/a.txt", fields=["If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT"]), dict(target="/a.txt", version="HTTP/1.0"),
    dict(target="/a.txt", fields=["X-Long: " + "y" * 3000]), dict(target="/a.txt", fields=["Cookie: a=b", "User-Agent: x", "Accept: */*", "Referer: http://x/"]),
], ids=str)
def test_what_http_sys_would_not_cache_is_a_hit_here(server, how):
    """SC4: index documents, ranges, HEAD, conditional requests, long heads."""
    how = dict(how)
    target = how.pop("target")
    before = warmed(server, target)
    server.fetch(target, **how)
    assert is_hit(server.wait_records(before + 1)[-1]["cache"]), server.records()[-1]


CONDITIONS = [  # what http.sys does not cache: fields of the request, its answer
    (["Authorization: Basic eDp5"], 200, b"a" * 500), (["Translate: f"], 200, b"a" * 500), (["Expect: 100-continue"], 200, b"a" * 500),
    (["Range: bytes=498-", "If-Range: {ETAG}"], 206, b"aa"), (["Range: bytes=498-", "If-Range: {DATE}"], 206, b"aa"),
    (["Range: bytes=498-", 'If-Range: "another"'], 200, b"a" * 500), (["Range: bytes=498-", "If-Range: Sun, 06 Nov 1994 08:49:37 GMT"], 200, b"a" * 500),
]


def test_credentials_and_conditions_of_ranges_are_hits_over_every_version_of_http(make, transport):
    """SC4: the right answer, and out of the cache, over HTTP/1.1 and over HTTP/2."""
    server = make(ONE_SITE + JSON_LOG + "http2.cleartext = 1\n", transport=transport, start=False)
    os.utime(server.put("a.txt", "a" * 500), (SETTLED, SETTLED))
    server.start()
    count = warmed(server, "/a.txt")
    known = server.fetch("/a.txt")
    filled = [([one.replace("{ETAG}", known["etag"]).replace("{DATE}", known["last-modified"]) for one in fields], status, body)
              for fields, status, body in CONDITIONS]
    for fields, status, body in filled:
        answer = server.fetch("/a.txt", fields=fields)
        assert (answer.status, answer.body) == (status, body), fields
        assert answer.get("content-range") == ("bytes 498-499/500" if status == 206 else None), fields
    with H2Client(server.port) as client:
        for fields, status, body in filled:
            pairs = [(name.lower(), value) for name, value in (one.split(": ", 1) for one in fields)]
            answer = client.get("/a.txt", fields=pairs, authority=f"127.0.0.1:{server.port}")
            assert (answer.status, answer.body) == (status, body), fields
    records = server.wait_records(count + 1 + 2 * len(filled))[count:]
    assert all(is_hit(record["cache"]) for record in records), records


def test_a_query_a_compressed_variant_and_a_large_answer_are_hits(make, transport):
    """SC4: each with its own key or variant."""
    text, large = b"some words " * 400, os.urandom(700_000)
    server = make(ONE_SITE + JSON_LOG, transport=transport, start=False)
    for name, body in {"a.txt": text, "large.bin": large}.items():
        os.utime(server.put(name, body), (SETTLED, SETTLED))
    server.start()

    def ask(target, *fields):
        count = len(server.records())
        answer = server.fetch(target, fields=fields)
        return answer, is_hit(server.wait_records(count + 1)[-1]["cache"])

    def gzipped():
        answer, hit = ask("/a.txt", "Accept-Encoding: gzip")
        return answer if hit and answer.get("content-encoding") == "gzip" else None
    assert gzip.decompress(wait_until(gzipped, what="the variant is made").body) == text
    for target, body in (("/a.txt?v=1", text), ("/a.txt?v=2", text), ("/large.bin", large)):
        assert [ask(target)[1] for _ in range(3)] == [False, False, True], target
        assert ask(target)[0].body == body


def test_a_long_response_head_is_cached(make):
    server = make(ONE_SITE + JSON_LOG + f"site.main.header.X-Long = {'z' * 2000}\n")
    os.utime(server.put("a.txt", "a"), (SETTLED, SETTLED))
    before = warmed(server, "/a.txt")
    assert server.fetch("/a.txt")["x-long"] == "z" * 2000
    assert is_hit(server.wait_records(before + 1)[-1]["cache"])


def test_every_request_has_a_verdict(server):
    requests = [("/a.txt", {}), ("/none", {}), ("/dir", {}), ("/dir/nothing/", {}), ("/a.txt", dict(method="POST")), ("/big.bin", {}), ("/%zz", {}),
                ("/a.txt", dict(fields=["Content-Length: 3"], body=b"abc")), ("/a.txt?x=1", {}), ("/a.txt", dict(fields=["Authorization: Basic eDp5"]))]
    for target, options in requests:
        for _ in range(3):
            server.fetch(target, **options)
    seen = verdicts(server, 3 * len(requests))
    assert all(re.fullmatch(r"[a-z0-9-]{3,}", v) for v in seen), set(seen)
    assert "unknown" not in seen and len(set(seen)) >= 6, set(seen)


def test_the_cache_explains_itself(server):
    url = f"http://127.0.0.1:{server.port}/a.txt"
    assert server.cli("cache", "why", url).stdout.strip()
    before = server.cli("cache", "why", url).stdout
    warmed(server, "/a.txt", 4)
    after = server.cli("cache", "why", url).stdout
    assert after != before
    assert server.cli("cache", "why", f"http://127.0.0.1:{server.port}/big.bin").stdout.strip()


def test_the_cache_explains_other_spellings_of_a_url(server):
    base = f"http://127.0.0.1:{server.port}"
    assert json.loads(server.cli("cache", "why", base + "/b.txt", "--json").stdout)["other_spellings"] == []
    warmed(server, "/%62.txt", 4)
    warmed(server, "/b.txt?q", 4)  # another URL
    asked = json.loads(server.cli("cache", "why", base + "/b.txt", "--json").stdout)
    assert asked["bytes"] == 0 and asked["other_spellings"] == [base + "/%62.txt"]
    assert base + "/%62.txt" in server.cli("cache", "why", base + "/b.txt").stdout
    written = json.loads(server.cli("cache", "why", base + "/%62.txt", "--json").stdout)
    assert written["bytes"] > 0 and written["other_spellings"] == []


def test_statistics_and_the_most_used(server):
    warmed(server, "/a.txt", 10)
    warmed(server, "/b.txt", 4)
    text = server.cli("cache", "top", "5").stdout
    assert "/a.txt" in text and "/b.txt" in text and text.index("/a.txt") < text.index("/b.txt")
    stats = server.cli("cache", "stats").stdout.lower()
    for word in ("entries", "bytes", "hits", "misses"):
        assert word in stats, stats


def test_statistics_of_each_site(make, transport):
    """SC15: whatever Host its requests have had."""
    server = make("cache.admit = always\nsite.a.hosts = a.example *.a.example\nsite.a.root = {WWW}\nsite.b.hosts = b.example\nsite.b.root = {WWW}\n",
                  transport=transport, start=False)
    for name in ("a.txt", "b.txt"):
        os.utime(server.put(name, name[0] * 5000), (SETTLED, SETTLED))
    server.start()
    for host, target in (("a.example", "/a.txt"), ("A.example:80", "/a.txt"), ("x.a.example", "/b.txt"), ("b.example", "/b.txt")):
        for _ in range(3):
            assert server.fetch(target, host=host).status == 200

    def stats():
        return json.loads(server.cli("cache", "stats", "--json").stdout)
    sites = {site["site"]: site for site in stats()["sites"]}
    assert {name: site["entries"] for name, site in sites.items()} == {"a": 3, "b": 1}
    assert 15_000 < sites["a"]["bytes"] and 5_000 < sites["b"]["bytes"] < sites["a"]["bytes"]
    assert re.search(r"(?m)^ *\d+ +3 +6 +a$", server.cli("cache", "stats").stdout)
    server.sysctl(**{"site__a": ""})
    server.fetch("/b.txt", host="b.example")
    wait_until(lambda: [site["site"] for site in stats()["sites"]] == ["b"], what="nothing is left of the site that has gone")


def entries(server):
    return int(re.search(r"entries\D+(\d+)", server.cli("cache", "stats").stdout.lower())[1])


def test_purging(server):
    for target in ("/a.txt", "/b.txt", "/dir/", "/dir/c.txt"):
        warmed(server, target)
    assert entries(server) >= 4
    base = f"http://127.0.0.1:{server.port}"

    def hits_after(target):
        count = len(server.records())
        server.fetch(target)
        return is_hit(server.wait_records(count + 1)[-1]["cache"])

    server.cli("cache", "purge", base + "/a.txt")
    assert not hits_after("/a.txt") and hits_after("/b.txt") and hits_after("/dir/c.txt")
    server.cli("cache", "purge", base + "/dir/*")
    assert not hits_after("/dir/") and not hits_after("/dir/c.txt") and hits_after("/b.txt")
    server.cli("cache", "purge", "all")
    assert not hits_after("/b.txt")


def test_a_purge_reaches_every_spelling_of_the_url(server):
    server.sysctl(cache__admit="always", site__main__purge_from="127.0.0.1")
    spellings = [(host, target) for host in ("a.example", "A.Example", "a.example.", "a.example:80") for target in ("/a.txt", "/%61.txt", "/x/../a.txt?q")]

    def ask():
        with server.connect() as connection:
            for host, target in spellings:
                assert connection.request(target, host=host).body == b"a" * 500
        return [record["cache"] for record in server.settled_records()[-len(spellings):]]
    ask()
    assert set(map(is_hit, ask())) == {True}
    told = json.loads(server.cli("cache", "purge", "http://A.EXAMPLE/a.txt", "--json").stdout)
    assert told["entries"] == len(spellings) and told["purged"] == "a.example/a.txt"
    assert set(map(is_hit, ask())) == {False}
    with server.connect() as connection:
        assert json.loads(connection.request("/a.*", "PURGE", host="a.example:080").body)["entries"] == len(spellings)


def purge(server, target, fields=(), port=None):
    with Connection(port or server.port) as connection:
        return connection.request(target, "PURGE", fields=fields)


def test_a_soft_purge_answers_on_while_the_file_is_read_anew(server):
    server.sysctl(site__main__stale_while_revalidate="60s")
    count = warmed(server, "/a.txt")
    told = json.loads(server.cli("cache", "purge", "--soft", f"http://127.0.0.1:{server.port}/a.txt", "--json").stdout)
    assert told["entries"] == 1 and told["soft"]
    assert server.fetch("/a.txt").body == b"a" * 500
    assert {r["cache"] for r in server.wait_records(count + 2)[-2:]} == {"hit-stale", "refreshed"}
    assert server.fetch("/a.txt").body == b"a" * 500
    assert server.wait_records(count + 3)[-1]["cache"] == "hit"
    assert server.counter("cache_refreshes") == 1 and server.counter("cache_fills") == 2


def test_a_soft_purge_without_a_grace_is_a_purge(server):
    count = warmed(server, "/a.txt")
    server.cli("cache", "purge", "--soft", "all")
    server.fetch("/a.txt")
    assert not is_hit(server.wait_records(count + 1)[-1]["cache"])


def test_purge_by_http_is_for_those_who_may(server):
    warmed(server, "/a.txt")
    refused = purge(server, "/a.txt")
    assert refused.status == 405
    server.sysctl(site__main__purge_from="192.0.2.0/24 unix")
    assert purge(server, "/a.txt").status == 403
    records = server.settled_records()
    assert [(r["status"], r["substatus"]) for r in records if r["method"] == "PURGE"] == [(405, 1), (403, 6)]
    count = len(records)
    server.fetch("/a.txt")
    assert is_hit(server.wait_records(count + 1)[-1]["cache"]), "a refused one has no effect"


def test_purge_by_http_takes_what_it_names_and_says_how_many(server):
    server.sysctl(site__main__purge_from="127.0.0.0/8")
    for target in ("/a.txt", "/b.txt", "/dir/", "/dir/c.txt", "/a.txt?x=1"):
        warmed(server, target)
    told = purge(server, "/a.txt")
    host = f"127.0.0.1:{server.port}"
    assert told.status == 200 and told["Content-Type"] == "application/json"
    assert json.loads(told.body) == {"purged": host + "/a.txt", "soft": False, "entries": 2}, "whatever the query"
    assert json.loads(purge(server, "/dir/*").body) == {"purged": host + "/dir/*", "soft": False, "entries": 2}
    assert json.loads(purge(server, "/none").body)["entries"] == 0
    count = len(server.settled_records())
    for target in ("/a.txt", "/b.txt", "/dir/"):
        server.fetch(target)
    assert list(map(is_hit, [r["cache"] for r in server.wait_records(count + 3)[-3:]])) == [False, True, False]
    assert json.loads(purge(server, "/*", ["Soft-Purge: 1"]).body)["soft"]


def test_nothing_stale_after_a_purge_was_acknowledged(server):
    """The file is swapped while the watch is kept busy; whoever hears the purge's answer must see the new one from then on."""
    server.sysctl(site__main__purge_from="127.0.0.1", cache__admit="always")
    wrong = []
    stop = threading.Event()
    told = [0]  # the number that was in the file when the last purge was acknowledged

    def ask():
        with server.connect() as connection:
            while not stop.is_set():
                least = told[0]
                body = connection.request("/n.txt").body
                if int(body) < least:
                    wrong.append((least, body))

    server.put("n.txt", "0")
    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for number in range(1, 60):
        fresh = server.put("n.new", str(number))
        fresh.rename(server.www / "n.txt")
        assert purge(server, "/n.txt").status == 200
        told[0] = number
    stop.set()
    for asker in askers:
        asker.join()
    assert not wrong


def test_a_change_of_configuration_is_seen_in_cached_answers(server):
    warmed(server, "/a.txt", 4)
    server.cli("sysctl", "-w", "site.main.header.X-New=1")
    assert server.fetch("/a.txt")["x-new"] == "1"
    server.cli("sysctl", "-w", "site.main.root=/usr/share")
    assert server.fetch("/a.txt").status == 404


def test_sites_do_not_share_entries(make, transport):
    server = make("site.a.hosts = a.example\nsite.a.root = {WWW}/a\nsite.b.hosts = b.example\nsite.b.root = {WWW}/b\ncache.admit = always\n",
                  files={"a/x.txt": "of a", "b/x.txt": "of b"}, transport=transport)
    for _ in range(5):
        assert server.fetch("/x.txt", host="a.example").body == b"of a"
        assert server.fetch("/x.txt", host="b.example").body == b"of b"


def test_what_is_not_in_the_key_does_not_change_the_answer(server):
    """SC14: a stranger's fields must not end in an answer for others."""
    for field in ("X-Forwarded-Host: evil.example", "X-Original-URL: /b.txt", "X-Rewrite-URL: /b.txt", "X-Forwarded-Proto: ftp", "X-HTTP-Method-Override: POST",
                  "Accept-Language: xx", "Origin: http://evil.example"):
        for _ in range(3):
            assert server.fetch("/a.txt", fields=[field]).body == b"a" * 500
    clean = server.fetch("/a.txt")
    assert clean.body == b"a" * 500 and "evil" not in str(clean.fields)


def test_the_cap_holds(make, transport):
    server = make(ONE_SITE + "cache.size = 4m\ncache.admit = always\ncache.settle = 0ms\n", transport=transport)
    for number in range(300):
        os.utime(server.put(f"f/{number}.bin", os.urandom(40_000)), (SETTLED, SETTLED))
    with server.connect() as connection:
        for number in range(300):
            connection.request(f"/f/{number}.bin")
    assert 0 < cached_bytes(server) <= 4 << 20
    server.cli("sysctl", "-w", "cache.size=1m")
    wait_until(lambda: cached_bytes(server) <= 1 << 20, what="a smaller cap is kept")


@pytest.mark.parametrize("size", [pytest.param(4096, marks=pytest.mark.skipif(not LONG, reason="half a million requests")), 300_000])
def test_the_memory_of_the_server_stays_within_the_cap(make, transport, size):
    """SC3: at most 1.05 times the cap and 64 MiB, after four times as much went through."""
    cap = (512 if LONG else 30) << 20
    server = make(ONE_SITE + f"cache.size = {cap}\ncache.admit = always\ncache.settle = 0ms\ncache.scavenge_period = 1h\n", transport=transport)
    os.utime(server.put("a.bin", os.urandom(size)), (SETTLED, SETTLED))
    with server.connect() as connection:
        for number in range(4 * cap // size):
            assert len(connection.request(f"/a.bin?{number}").body) == size  # an entry each
    assert cap * 0.8 < cached_bytes(server) <= cap
    assert resident(server.role("server")) <= cap * 1.05 + (64 << 20)


def cached_bytes(server):
    return int(re.search(r"bytes\D+(\d+)", server.cli("cache", "stats").stdout.lower())[1])


def test_an_entry_that_is_too_large_is_not_cached(server):
    server.sysctl(cache__entry_max="1k")
    server.put("two.bin", b"x" * 2000)
    os.utime(server.www / "two.bin", (SETTLED, SETTLED))
    before = warmed(server, "/two.bin", 5)
    assert not is_hit(server.records()[before - 1]["cache"])


def test_a_scavenged_entry_is_gone(make):
    server = make(ONE_SITE + "cache.scavenge_period = 1s\n")
    os.utime(server.put("a.txt", "a"), (SETTLED, SETTLED))
    for _ in range(4):
        server.fetch("/a.txt")
    assert entries(server) == 1
    wait_until(lambda: entries(server) == 0, seconds=5)


def test_one_fill_for_many_who_wait(make, transport):
    """SC9: 200 clients ask for a cold file at once; it is read for all of them together."""
    server = make(ONE_SITE + "cache.admit = always\n", transport=transport)
    os.utime(server.put("cold.bin", os.urandom(600_000)), (SETTLED, SETTLED))
    body = (server.www / "cold.bin").read_bytes()
    fills, opened = server.counter("cache_fills"), server.counter("files_opened")
    connections = [Connection(server.port) for _ in range(200)]
    for connection in connections:
        connection.send("GET /cold.bin HTTP/1.1\r\nHost: x\r\n\r\n")
    answers = [connection.read_response().body for connection in connections]
    assert all(answer == body for answer in answers)
    # Who misses just before another's fill is there, and asks who leads just after, looks once more before it reads.
    assert (server.counter("cache_fills") - fills, server.counter("files_opened") - opened) == (1, 1)
    for connection in connections:
        connection.close()


def test_a_hit_makes_no_file_operation(server):
    warmed(server, "/a.txt", 4)
    opened = server.counter("files_opened")
    for _ in range(200):
        server.fetch("/a.txt")
    assert server.counter("files_opened") == opened


def test_purging_under_load_serves_only_whole_answers(server):
    stop, wrong = threading.Event(), []

    def ask():
        with Connection(server.port) as connection:
            while not stop.is_set():
                if connection.request("/a.txt").body != b"a" * 500:
                    wrong.append(1)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        server.cli("cache", "purge", "all")
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
