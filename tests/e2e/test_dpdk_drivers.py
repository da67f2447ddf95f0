"""Issue 4: other drivers of DPDK's than net_tap: the site over vhost-user and AF_XDP."""
import json
import os
import subprocess

import pytest
from dpdk import Xdp
from http_client import wait_until
from instance import ONE_SITE, TREE

pytestmark = pytest.mark.usefixtures("network")
NET_LOAD = TREE / "build/perf/load/net_load"
VHOST = """server.listen = 10.78.0.1:80
server.transport = dpdk
dpdk.device = net_vhost0,iface={RUN}/vhost
dpdk.addresses = 10.78.0.1/24
dpdk.hugepages = 0
"""


@pytest.mark.skipif(not NET_LOAD.exists(), reason="perf/load/net_load is not built")
def test_processes_come_and_go_by_vhost_user_and_get_every_byte_right(make):
    """The peer is net_virtio_user, as a virtual machine would be. Its socket is served by a thread of DPDK's, in the sandbox."""
    server = make(ONE_SITE, listen=False, files={"1k.bin": os.urandom(1024), "100k.bin": os.urandom(100_000)}, start=False)
    server.base = VHOST.replace("{RUN}", str(server.run))
    server.write_config(ONE_SITE)
    server.start(wait=False)
    wait_until(lambda: "server is ready" in server.output(), 10, what="the server")
    for name in ("1k.bin", "100k.bin"):
        done = subprocess.run([NET_LOAD, f"--device=net_virtio_user0,path={server.run}/vhost,queues=1", "--own=10.78.0.2", "--to=10.78.0.1",
                               f"--path=/{name}", f"--body={server.www}/{name}", "--connections=8", "--seconds=1", "--warmup=0"],
                              capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode() + server.output()
        said = json.loads(done.stdout.splitlines()[-1])
        assert said["requests"] > 8 and not any(said["errors"].values()), said
    role = next(one for one in server.status()["roles"] if one["role"] == "server")
    assert all(step["holds"] for step in role["sandbox"])
    for thread in os.listdir(f"/proc/{role['pid']}/task"):
        with open(f"/proc/{role['pid']}/task/{thread}/status") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        assert status["Uid"].split()[0] != "0" and status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
        assert int(status["CapBnd"], 16) == int(status["CapPrm"], 16) == 0


def test_the_site_is_served_over_af_xdp(make):
    big = os.urandom(1_000_000)
    server = make(transport="dpdk", device=Xdp(), files={"a.txt": "hello\n", "big.bin": big})
    assert server.fetch("/a.txt").body == b"hello\n" and server.fetch("/big.bin").body == big
