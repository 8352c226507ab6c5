"""`tmal lab`: JupyterLab at the first notebook, with this interpreter as its kernel whatever else is installed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence

from ipykernel.kernelspec import get_kernel_dict
from jupyterlab.labapp import LabApp

from tmal_core.runtime.program_folder import program
from tmal_core.suite.notebook_runs import NAMES, NOTEBOOKS

_OPTIONS = {
    "ServerApp.ip": "127.0.0.1",
    "ServerApp.root_dir": NOTEBOOKS,
    "Application.log_level": "ERROR",
    "ServerApp.answer_yes": True,  # Ctrl-C means it
    "LabApp.default_url": f"/lab/tree/{NAMES[0]}.ipynb",
    # Nothing is asked of any other machine.
    "LabApp.news_url": "None",
    "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    "LabApp.extension_manager": "readonly",
}
_CHATTER = ("To access the server", "Shutting down", "Shutdown confirmed", "received signal")


def open_lab(options: Sequence[str] = ()) -> None:
    """Serve the notebooks until Ctrl-C; one line with the address is printed.

    The kernel that notebooks name, `python3`, is this interpreter. When the server ends its kernels end, and what
    trains is interrupted, which saves where it stands.

    Args:
        options: of `jupyter lab`, which come behind our own.
    """
    # Warnings of Jupyter's parts to each other, as all of their log below errors, are not for who uses them.
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())
    logging.captureWarnings(True)
    with program() as lab:
        kernels = lab.folder / "jupyter" / "kernels" / "python3"
        kernels.mkdir(parents=True)
        spec = {**get_kernel_dict(extra_arguments=["--log-level=ERROR"]), "display_name": "Python 3 (this project)"}
        (kernels / "kernel.json").write_text(json.dumps(spec))
        # What stands first here is found before the kernels of the user's home and of the system.
        known = [str(kernels.parents[1]), *filter(None, [os.environ.get("JUPYTER_PATH")])]
        os.environ |= {"JUPYTER_PATH": os.pathsep.join(known), **lab.environment}
        server = LabApp.initialize_server([*(f"--{key}={value}" for key, value in _OPTIONS.items()), *options])
        server.log.addFilter(_is_no_chatter)
        token = server.identity_provider.token  # none where the user has set a password
        address = f"http://127.0.0.1:{server.port}{server.base_url.rstrip('/')}{_OPTIONS['LabApp.default_url']}"
        line = f"JupyterLab, until Ctrl-C: {address}{f'?token={token}' if token else ''}"
        server.io_loop.add_callback(print, line, flush=True)  # behind Jupyter's own, which binds the port
        server.start()


def _is_no_chatter(record: logging.LogRecord) -> bool:
    """What Jupyter says at its highest level is the address once more, and that it ends."""
    return not record.getMessage().strip().startswith(_CHATTER)
