"""Issue 4: TSO, large segments that the port cuts. net_tap does it in its driver: for IPv4, and by the processor, so only where dpdk.tso is on."""
import hashlib
import random
from http.client import HTTPConnection

import pytest
from faulty_wire import faulty_wire
from instance import ONE_SITE

pytestmark = pytest.mark.usefixtures("network")
MIB = 1 << 20
NAMES = ("large_segments", "bytes_summed", "bytes_copied")


def test_a_hundred_mib_arrive_exactly_in_large_segments_that_nobody_here_copies_or_sums(make):
    """From the cache and from a file; what is lost is cut again; over IPv6, and with dpdk.tso off, each segment is made here."""
    bodies = {f"{mib}.bin": random.Random(mib).randbytes(mib * MIB) for mib in (1, 3, 99)}
    digests = {name: hashlib.sha256(body).digest() for name, body in bodies.items()}
    server = make(ONE_SITE + "dpdk.tso = on\n", transport="dpdk", files=bodies)

    def moved(name, times=1, host=server.tap.v4):
        """What the counters have counted of so many answers, which are right."""
        before = [server.counter(one) for one in NAMES]
        for _ in range(times):
            connection = HTTPConnection(host, 80, timeout=60)
            connection.request("GET", f"/{name}")
            assert hashlib.sha256(connection.getresponse().read()).digest() == digests[name], name
            connection.close()
        return [server.counter(one) - was for one, was in zip(NAMES, before)]

    moved("1.bin", 4)
    segments, summed, copied = moved("1.bin", 10)
    # A head is each answer's own, and an end that went alone may begin within what a sum was made of: a segment of the MiB at most.
    assert segments >= 10 * 16 and summed < 10 * (400 + 1448) and copied < 10 * 400, (segments, summed, copied)
    assert moved("99.bin")[0] > 99 * 16
    with faulty_wire(server.tap, lose=10, double=5, delay=10, seed=9):
        assert moved("3.bin")[0] > 10
    assert moved("1.bin", host=server.tap.v6)[0] == 0
    server.sysctl(dpdk__tso="off")
    server.wait_ready()
    assert moved("1.bin")[0] == 0
