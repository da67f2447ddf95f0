"""LG10: logs beside the access log: of a site, under a condition, in a format and a zone of their own; changed and rotated live."""
import json
import os
import re
import threading

from http_client import Connection, wait_until
from instance import ONE_SITE

SITES = "".join(f"site.{name}.hosts = {name}.example\nsite.{name}.root = {{WWW}}\n" for name in ("shop", "blog"))
# Beside it each site has its own, and all that fails is in one more.
CONFIG = (ONE_SITE + SITES + "log.access.format = json\nlog.access.path = {LOGS}/access.log\nlog.access.fields = cs-host cs-uri sc-status\n"
          "logfile.shop.path = {LOGS}/shop.log\nlogfile.shop.where = site=shop\nlogfile.shop.format = json\nlogfile.shop.fields = cs-uri sc-status\n"
          "logfile.blog.path = {LOGS}/blog.log\nlogfile.blog.where = site=blog\nlogfile.blog.fields = cs-uri\n"
          "logfile.bad.path = {LOGS}/bad.log\nlogfile.bad.where = status>=500\nlogfile.bad.format = json\nlogfile.bad.fields = s-sitename cs-uri\n"
          "site.shop.route.broken.prefix = /broken\nsite.shop.route.broken.handler = status\nsite.shop.route.broken.status = 503\n")
FILES = {"a.txt": "a"}


def lines(server, name):
    """Of a log and of what it was before it was rotated: its records, whole lines alone."""
    found = []
    for path in sorted(server.logs.iterdir()):
        if not path.name.startswith(name + ".log"):
            continue
        try:
            text = path.read_text()
        except FileNotFoundError:  # rotated away under our eyes
            return []
        found += [line for line in text[:text.rfind("\n") + 1].splitlines() if not line.startswith("#") and "/.ready" not in line]
    return found


def uris(server, name):
    return [json.loads(line)["uri"] for line in lines(server, name)]


def ask(server, host, targets):
    with Connection(server.port) as connection:
        for target in targets:
            connection.request(target, host=host)


def test_each_site_has_its_log_and_none_loses_a_record_though_all_are_rotated(make, transport):
    server = make(CONFIG + "logfile.shop.rotate_bytes = 4k\nlogfile.blog.rotate_bytes = 4k\n", files=FILES, transport=transport)
    wait_until(lambda: "logd is ready" in server.output(), what="there is somebody to rotate")
    # Every tenth comes from the cache, where nobody asks for its site.
    wanted = {site: [f"/{'broken' if n % 5 == 0 else 'a.txt'}?{site}-{1 if n % 10 == 1 else n}" for n in range(400)] for site in ("shop", "blog")}
    threads = [threading.Thread(target=ask, args=(server, f"{site}.example", targets)) for site, targets in wanted.items()]
    for thread in threads:
        thread.start()
    for _ in range(3):
        server.cli("log", "rotate")
    for thread in threads:
        thread.join()
    wait_until(lambda: len(uris(server, "access")) >= 800 and len(uris(server, "shop")) >= 400 and len(lines(server, "blog")) >= 400, seconds=10,
               what="all records")
    assert sorted(uris(server, "access")) == sorted(wanted["shop"] + wanted["blog"])
    assert sorted(uris(server, "shop")) == sorted(wanted["shop"])
    assert sorted(lines(server, "blog")) == sorted(wanted["blog"])
    failed = [target for target in wanted["shop"] if "broken" in target]
    wait_until(lambda: len(lines(server, "bad")) >= len(failed), what="what failed")
    assert sorted(uris(server, "bad")) == sorted(failed)
    assert [p for p in server.logs.iterdir() if p.name.startswith("blog.log.")]


def test_logs_and_conditions_come_and_go_live(make):
    server = make(CONFIG, files=FILES)

    def seen(name, target):
        wait_until(lambda: target in uris(server, name), what=f"{target} in {name}")
        return uris(server, name)
    ask(server, "shop.example", ["/a.txt?1", "/broken?2"])
    assert seen("bad", "/broken?2") == ["/broken?2"]
    server.sysctl(logfile__bad__where="status<500 site=shop")
    ask(server, "blog.example", ["/a.txt?3"])
    ask(server, "shop.example", ["/broken?4", "/a.txt?5"])
    assert seen("bad", "/a.txt?5") == ["/broken?2", "/a.txt?5"]
    wrong = server.cli("sysctl", "-w", "logfile.bad.where=status>=bad", check=False)
    assert wrong.returncode != 0 and "logfile.bad.where" in wrong.stderr and "status>=bad" in wrong.stderr

    server.cli("sysctl", "-w", "logfile.bad=")  # it is gone, and another comes
    server.sysctl(logfile__new__path=f"{server.logs}/new.log", logfile__new__format="json", logfile__new__fields="cs-uri", logfile__new__where="method=GET")
    ask(server, "shop.example", ["/a.txt?6"])
    assert seen("new", "/a.txt?6")[-1] == "/a.txt?6"
    server.sysctl(log__access__where="status>=500")
    ask(server, "shop.example", ["/a.txt?7", "/broken?8"])
    assert "/a.txt?7" not in seen("access", "/broken?8")
    assert seen("shop", "/broken?8") == ["/a.txt?1", "/broken?2", "/broken?4", "/a.txt?5", "/a.txt?6", "/a.txt?7", "/broken?8"]
    assert uris(server, "bad") == ["/broken?2", "/a.txt?5"]


def test_a_log_file_is_written_where_the_access_log_is_not(make):
    server = make(ONE_SITE + "logfile.one.path = {LOGS}/one.log\nlogfile.one.fields = cs-uri\n", files=FILES)
    server.fetch("/a.txt?1")
    wait_until(lambda: lines(server, "one") == ["/a.txt?1"], what="its record")
    assert [path.name for path in server.logs.iterdir()] == ["one.log"]


def test_times_and_names_are_local_where_that_is_wanted(make):
    config = (ONE_SITE + "log.access.format = ncsa\nlog.access.path = {LOGS}/access.log\nlogfile.local.format = ncsa\nlogfile.local.utc = 0\n"
              "logfile.local.path = {LOGS}/local.log\n")
    server = make(config, files=FILES, start=False)
    server.start(env={**os.environ, "TZ": "XYZ-05:30"})  # POSIX: five and a half hours before Greenwich
    server.fetch("/a.txt")
    wait_until(lambda: lines(server, "access") and lines(server, "local"), what="both records")
    clock = re.compile(r":(\d\d):(\d\d):\d\d ([+-]\d{4})\]")
    hour, minute, zone = clock.search(lines(server, "access")[-1]).groups()
    local_hour, local_minute, local_zone = clock.search(lines(server, "local")[-1]).groups()
    assert (zone, local_zone) == ("+0000", "+0530")
    assert (int(local_hour) * 60 + int(local_minute) - int(hour) * 60 - int(minute)) % 1440 == 330
    server.cli("log", "rotate")

    def stamp(name):
        names = [path.name for path in server.logs.iterdir()]
        found = [re.fullmatch(name + r"\.log\.\d{8}-(\d\d)(\d\d)\d\d", one) for one in names]
        return next(int(match[1]) * 60 + int(match[2]) for match in found if match)
    assert (stamp("local") - stamp("access")) % 1440 in (330, 331)
