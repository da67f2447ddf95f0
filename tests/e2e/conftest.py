"""Fixtures: every instance a test makes is ended after it; a shared one per module for tests that only ask."""
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from contextlib import nullcontext

sys.path.insert(0, str(Path(__file__).parent))
import dpdk  # noqa: E402
from instance import BINARY, JSON_LOG, ONE_SITE, UNPRIVILEGED, Instance  # noqa: E402

TRANSPORTS = ("uring", "epoll")


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: measures a promised time, so that no other test may run beside it")


def pytest_sessionstart(session):
    if not BINARY.exists():
        pytest.exit(f"{BINARY} is not built (scripts/test --only release)", returncode=4)


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


@pytest.fixture(params=["root", "unprivileged"])
def user(request):
    """None (as root) or the name of an unprivileged user; without root only what we are."""
    if os.geteuid() != 0:
        if request.param == "root":
            pytest.skip("needs root")
        return None
    return UNPRIVILEGED if request.param == "unprivileged" else None


@pytest.fixture
def make():
    """make(config, …) → an Instance that is removed after the test. `start=False` leaves it to the test."""
    made = []

    def build(config=ONE_SITE, *, files=None, start=True, **options):
        instance = Instance(config, **options)
        made.append(instance)
        for path, body in (files or {}).items():
            instance.put(path, body)
        return instance.start() if start else instance

    yield build
    for instance in made:
        instance.remove()


@pytest.fixture
def open_folder():
    """A folder that workers, who are users of their own, may enter. (pytest closes those of tmp_path whenever it starts.)"""
    with tempfile.TemporaryDirectory(prefix="penstock-e2e-open-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


@pytest.fixture
def network():
    """A network of the test's own, in which instances may be past the kernel; skipped where they cannot be."""
    if dpdk.why_not():
        pytest.skip(dpdk.why_not())
    with dpdk.own_network():
        yield


@pytest.fixture(scope="module", params=(*TRANSPORTS, "dpdk"))
def site(request):
    """A shared instance on each transport with one site and a JSON log. Tests only ask it."""
    if request.param == "dpdk" and dpdk.why_not():
        pytest.skip(dpdk.why_not())
    with dpdk.own_network() if request.param == "dpdk" else nullcontext():
        yield from shared_instance(request)


def shared_instance(request):
    instance = Instance(ONE_SITE + JSON_LOG + getattr(request.module, "CONFIG", ""), transport=request.param)
    instance.put("index.html", "<!doctype html><title>home</title>home\n")
    instance.put("hello.txt", "hello, world\n")
    for path, body in getattr(request.module, "FILES", {}).items():
        instance.put(path, body)
    prepare = getattr(request.module, "prepare", None)
    if prepare:
        prepare(instance)
    instance.start()
    yield instance
    instance.remove()


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
