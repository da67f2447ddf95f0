"""The demo of applications as scripts/serve --apps runs it, and what of it can run here."""
import json
import subprocess
from pathlib import Path

import pytest
from instance import BINARY, TREE, Instance

FEATURES = {f["name"]: f for f in json.loads(subprocess.run([BINARY, "features", "--json"], capture_output=True, text=True).stdout)["features"]}
HAS_FLASK = subprocess.run(["/usr/bin/python3", "-c", "import flask"], capture_output=True).returncode == 0
needs_pools = pytest.mark.skipif(not FEATURES["pools"]["available"], reason="this build does not run pools")
needs_flask = pytest.mark.skipif(not (HAS_FLASK and FEATURES["wsgi"]["available"]), reason="python3-flask is not installed, or wsgi is not in this build")
needs_php = pytest.mark.skipif(not Path("/usr/bin/php-cgi").exists(), reason="php-cgi is not installed")
needs_gitweb = pytest.mark.skipif(not Path("/usr/share/gitweb/gitweb.cgi").exists(), reason="gitweb is not installed")


def made_apps(instance, more=""):
    """The demo's own configuration, and `more`."""
    instance.state = instance.dir / "state"
    prepared = subprocess.run([TREE / "scripts/apps/prepare", instance.state], capture_output=True, text=True)
    assert prepared.returncode == 0, prepared.stderr
    instance.write_config(prepared.stdout + more)
    return instance.start()


@pytest.fixture(scope="module")
def apps():
    with Instance() as instance:
        yield made_apps(instance)
