"""`make lab`: one link to the first notebook, this interpreter as its kernel, and nothing left behind Ctrl-C."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tmal_core.suite import lab
from tmal_core.suite.notebook_runs import NOTEBOOKS

COMMAND = """
import signal, sys
from tmal_core import cli
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(cli.main(["lab", "--no-browser", "--allow-root", *sys.argv[1:]]))
"""


@pytest.fixture
def home(tmp_path):
    """Of a user who has kernels of their own: one of the name that notebooks give theirs, in both places."""
    for place in (tmp_path / ".local" / "share" / "jupyter", tmp_path / "more"):
        kernel = place / "kernels" / "python3"
        kernel.mkdir(parents=True)
        spec = {"argv": ["false", "{connection_file}"], "display_name": "Mine", "language": "python"}
        (kernel / "kernel.json").write_text(json.dumps(spec))
    return tmp_path


def test_it_opens_the_first_notebook_with_this_kernel_and_leaves_nothing(home):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "XDG", "IPYTHON"))}
    own |= {"HOME": str(home), "JUPYTER_PATH": str(home / "more"), "TMPDIR": str(home)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
    command = [sys.executable, "-c", COMMAND, "--port", str(port)]
    with subprocess.Popen(command, env=own, start_new_session=True, **pipes) as process, ExitStack() as at_last:
        at_last.callback(process.kill)
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        url = urllib.parse.urlsplit(line.split()[-1])
        token = urllib.parse.parse_qs(url.query)["token"][0]
        assert (url.hostname, url.port, url.path) == ("127.0.0.1", port, "/lab/tree/01_data_preparation.ipynb")

        def asked(path, content=None):
            headers = {"Authorization": f"token {token}"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}/api/{path}", content, headers)
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)

        assert asked("contents/01_data_preparation.ipynb?content=0")["type"] == "notebook"
        kernels = asked("kernelspecs")
        assert kernels["default"] == "python3"
        assert kernels["kernelspecs"]["python3"]["spec"]["argv"][0] == sys.executable
        begun = asked("kernels", json.dumps({"name": "python3"}).encode())["id"]
        while not (beneath := psutil.Process(process.pid).children(recursive=True)):
            time.sleep(0.1)
        assert any(begun in " ".join(one.cmdline()) for one in beneath)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate()
    assert (process.returncode, out, errors) == (0, "", "")
    assert not [one for one in beneath if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert not list(home.glob("tmal-*")), "its folder is taken away"


def test_notebooks_name_the_kernel_that_it_puts_in_their_way():
    names = {
        json.loads(path.read_text())["metadata"]["kernelspec"]["name"] for path in Path(NOTEBOOKS).glob("0*.ipynb")
    }
    assert names == {"python3"}


def test_only_what_jupyter_says_of_itself_is_left_out():
    def record(text):
        return logging.LogRecord("x", logging.CRITICAL, "x", 1, text, (), None)

    assert not lab._is_no_chatter(record("\n    To access the server, open this file"))
    assert lab._is_no_chatter(record("Running as root is not recommended."))
