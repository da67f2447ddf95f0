"""Issue §6, CO1–CO3: precompressed siblings, variants built in the background, and exact negotiation of both."""
import gzip
import itertools
import random
import subprocess
import threading
import time
from pathlib import Path

import brotli
import pytest
from http_client import wait_until
from instance import LONG, ONE_SITE, QUICK

TEXT = "".join(f"line {n % 97} of a text that compresses well\n" for n in range(400)).encode()
CODINGS = ("gzip", "br", "zstd")
SUFFIX = {"gzip": ".gz", "br": ".br", "zstd": ".zst"}


def zstd(data, *options):
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, capture_output=True, check=True).stdout


PACK = {"gzip": gzip.compress, "br": brotli.compress, "zstd": zstd}
UNPACK = {None: bytes, "gzip": gzip.decompress, "br": brotli.decompress, "zstd": lambda data: zstd(data, "-d")}


def coding_of(response):
    return response.get("content-encoding")


def varies(response):
    return "accept-encoding" in {v.strip().lower() for line in response.all("vary") for v in line.split(",")}


def prepare(instance):
    for name, codings in (("all.txt", CODINGS), ("gz.txt", ("gzip",)), ("none.bin", ())):
        instance.put(name, TEXT)
        for coding in codings:
            instance.put(name + SUFFIX[coding], PACK[coding](TEXT))


CONFIG = "compress.enable = 0\n"


def weight(text, coding):
    """What RFC 9110 §12.5.3 says of one coding, written apart from the server."""
    named, star = None, None
    for element in text.split(","):
        name, *parameters = [part.strip() for part in element.split(";")]
        q = float(next((p[2:] for p in parameters if p.lower().startswith("q=")), "1"))
        name = {"x-gzip": "gzip"}.get(name.lower(), name.lower())
        if name == coding and named is None:
            named = q
        elif name == "*" and star is None:
            star = q
    if named is not None:
        return named
    if star is not None:
        return star
    return 0.0001 if coding == "identity" else 0


def table():
    """Accept-Encoding values: each coding absent or weighted, `*` and identity too."""
    values = ["gzip", "br", "zstd", "gzip, br", "br, gzip", "gzip, deflate, br, zstd", "deflate", "identity", "*", "*;q=0", "identity;q=0", "gzip;q=0",
              "x-gzip", "GZIP", "gzip;q=0.001", "gzip;q=1.000", "gzip ; q=0.5 , br;q=0.4", "compress, *;q=0.1", "identity;q=1, gzip;q=0.5",
              "gzip;q=0.5, identity;q=0.5", "*;q=0, gzip", "*;q=0, identity", "identity;q=0, gzip;q=0", "br;q=0, *", "gzip,,br", " gzip "]
    for first, second in itertools.permutations(CODINGS, 2):
        for a, b in ((1, 0.9), (0.3, 0.8), (0, 1), (0, 0)):
            values.append(f"{first};q={a}, {second};q={b}")
            values.append(f"{first};q={a}, *;q={b}")
            values.append(f"{first};q={a}, identity;q={b}")
    return values


@pytest.mark.parametrize("value", table())
def test_the_best_sibling_that_is_accepted_is_sent(site, value):
    for name, there in (("all.txt", CODINGS), ("gz.txt", ("gzip",)), ("none.bin", ())):
        response = site.fetch("/" + name, fields=["Accept-Encoding: " + value])
        weights = {coding: weight(value, coding) for coding in (*there, "identity")}
        best = max(weights.values())
        if best == 0:
            assert response.status in (406, 200) and coding_of(response) is None, value
            continue
        sent = coding_of(response) or "identity"
        assert weights[sent] == best, f"{value}: sent {sent}, weights {weights}"
        assert UNPACK[coding_of(response)](response.body) == TEXT
        if there:
            assert varies(response), "a cache on the way must know"


def test_without_the_field_the_file_itself_is_sent(site):
    response = site.fetch("/all.txt")
    assert coding_of(response) is None and response.body == TEXT and varies(response)


def test_variants_have_tags_and_ranges_of_their_own(site):
    answers = {coding: site.fetch("/all.txt", fields=[f"Accept-Encoding: {coding}"]) for coding in ("identity", *CODINGS)}
    tags = {coding: answer["etag"] for coding, answer in answers.items()}
    assert len(set(tags.values())) == 4
    for coding in CODINGS:
        part = site.fetch("/all.txt", fields=[f"Accept-Encoding: {coding}", "Range: bytes=5-20"])
        assert part.status == 206 and part.body == answers[coding].body[5:21]
        assert site.fetch("/all.txt", fields=[f"Accept-Encoding: {coding}", f"If-None-Match: {tags[coding]}"]).status == 304
        assert site.fetch("/all.txt", fields=["Accept-Encoding: identity", f"If-None-Match: {tags[coding]}"]).status == 200


@pytest.mark.parametrize("size", [100_000, 3_000_000], ids=["for the cache", "never cached"])
def test_a_large_file_is_streamed_from_the_sibling_that_is_wanted(make, transport, size):
    """From the first request on, and the same answer whether it is streamed or comes from the cache later."""
    text = random.Random(7).randbytes(size // 2).hex().encode()
    server = make(ONE_SITE + CONFIG, files={"a.txt": text, "a.txt.gz": gzip.compress(text, 1), "a.txt.br": brotli.compress(text, quality=1)}, transport=transport)
    seen = {}
    for _ in range(4):
        for accept, coding in (("gzip", "gzip"), ("gzip, br", "br"), ("identity", None), ("gzip;q=0.5, br;q=0.1, identity;q=0", "gzip")):
            response = server.fetch("/a.txt", fields=[f"Accept-Encoding: {accept}"])
            assert coding_of(response) == coding and UNPACK[coding](response.body) == text and varies(response)
            told = (response["etag"], response["last-modified"], response["content-type"])
            assert seen.setdefault(coding, told) == told
    assert len({tag for tag, _, _ in seen.values()}) == 3 and len({modified for _, modified, _ in seen.values()}) == 1
    assert server.fetch("/a.txt", fields=["Accept-Encoding: zstd, identity;q=0"]).status == 406
    part = server.fetch("/a.txt", fields=["Accept-Encoding: br", "Range: bytes=5-20"])
    assert part.status == 206 and part.body == brotli.compress(text, quality=1)[5:21]


def test_the_type_is_that_of_the_file_and_not_of_the_archive(site):
    assert site.fetch("/all.txt", fields=["Accept-Encoding: gzip"])["content-type"].startswith("text/plain")
    direct = site.fetch("/all.txt.gz")
    assert coding_of(direct) is None and gzip.decompress(direct.body) == TEXT and "gzip" in direct["content-type"]


def test_siblings_can_be_switched_off(make):
    server = make(ONE_SITE + "compress.enable = 0\nsite.main.precompressed = 0\n", files={"a.txt": TEXT, "a.txt.gz": gzip.compress(TEXT)})
    assert coding_of(server.fetch("/a.txt", fields=["Accept-Encoding: gzip"])) is None


def test_a_sibling_appears_and_goes(make, transport):
    server = make(ONE_SITE + "compress.enable = 0\n", files={"a.txt": TEXT}, transport=transport)
    ask = lambda: coding_of(server.fetch("/a.txt", fields=["Accept-Encoding: gzip"]))  # noqa: E731
    for _ in range(4):
        assert ask() is None
    server.put("a.txt.gz", gzip.compress(TEXT))
    wait_until(lambda: ask() == "gzip", seconds=2, what="the new sibling is used")
    (server.www / "a.txt.gz").unlink()
    wait_until(lambda: ask() is None, seconds=2, what="the removed sibling is not")


@pytest.mark.parametrize("coding", CODINGS)
def test_a_hot_answer_is_compressed_in_the_background(make, coding, transport):
    server = make(ONE_SITE + f"compress.codings = {coding}\n", files={"a.txt": TEXT, "small.txt": b"x" * 100, "a.png": TEXT}, transport=transport)
    ask = lambda name="/a.txt": server.fetch(name, fields=[f"Accept-Encoding: {coding}"])  # noqa: E731
    first = ask()
    assert coding_of(first) is None, "the first request waits for no compressor"
    answer = wait_until(lambda: (lambda r: r if coding_of(r) == coding else None)(ask()), what="later ones are compressed")
    assert UNPACK[coding](answer.body) == TEXT and len(answer.body) < len(TEXT) / 4 and varies(answer)
    assert server.fetch("/a.txt").body == TEXT
    for _ in range(20):
        assert coding_of(ask("/small.txt")) is None and coding_of(ask("/a.png")) is None
    server.put("a.txt.new", TEXT + b"more\n").rename(server.www / "a.txt")

    def plain():
        response = ask()
        return UNPACK[coding_of(response)](response.body)
    wait_until(lambda: plain() == TEXT + b"more\n", what="a variant does not outlive its file")


def test_the_compressor_has_only_what_nobody_else_wants(site):
    """Its thread, and no other of the server, is scheduled when the processor would be idle (or is as nice as can be)."""
    SCHED_IDLE, NICEST = 5, 19
    tasks = Path(f"/proc/{site.role('server')}/task")
    low = []
    for task in tasks.iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()  # from the third on
        if int(fields[41 - 3]) == SCHED_IDLE or int(fields[19 - 3]) == NICEST:
            low.append((task / "comm").read_text().strip())
    assert len(low) == 1, low


def test_nobody_waits_while_it_is_compressed(make, transport):
    """The largest file at the highest effort takes seconds; answers come before it is done."""
    rng = random.Random(5)
    words = [rng.randbytes(6).hex().encode() for _ in range(5000)]
    text = b" ".join(rng.choice(words) for _ in range(280_000))[:3_500_000]
    server = make(ONE_SITE + "compress.codings = br\ncompress.level_br = 11\n", files={"big.txt": text, "a.txt": "a" * 100}, transport=transport)
    for _ in range(8):
        server.fetch("/big.txt", fields=["Accept-Encoding: br"])
    with server.connect() as connection:
        for _ in range(300):
            assert connection.request("/a.txt").status == 200
        assert coding_of(connection.request("/big.txt", fields=["Accept-Encoding: br"])) is None, "all that while it was being compressed"


def test_variants_are_right_while_files_are_swapped(make, transport):
    """Whatever coding comes, it is of one of the versions, whole, and labelled as what it is; in the long form 100,000 times."""
    answers = 100_000 if LONG else 0
    versions = [(TEXT + b"version %d\n" % n) for n in range(2)]
    server = make(files={"a.txt": versions[0], "a.txt.gz": gzip.compress(versions[0])}, transport=transport)
    stop = threading.Event()

    pauses, swaps = random.Random(7), []

    def swap():
        for turn in itertools.cycle((1, 0)):
            if stop.is_set():
                return
            server.put("fresh", versions[turn]).rename(server.www / "a.txt")
            server.put("fresh.gz", gzip.compress(versions[turn])).rename(server.www / "a.txt.gz")
            swaps.append(turn)
            time.sleep(pauses.uniform(0, 0.06))  # a file is whole after 20 ms: were all shorter, each request would wait a second

    writer = threading.Thread(target=swap)
    writer.start()
    rng = random.Random(6)
    try:
        with server.connect() as connection:
            for number in itertools.count(1):
                if len(swaps) >= (50 if QUICK else 150) and number > answers:
                    break
                accepted = rng.choice(["gzip", "br", "zstd", "gzip, br, zstd", "identity", "gzip;q=0.5, br;q=0.4"])
                answer = connection.request("/a.txt", fields=["Accept-Encoding: " + accepted])
                assert answer.status == 200 and UNPACK[coding_of(answer)](answer.body) in versions
    finally:
        stop.set()
        writer.join()
