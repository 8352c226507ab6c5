"""Downloading one file so that it arrives whole and checked, or not at all.

huggingface_hub fetches what lies on Hugging Face, torch.hub all else. What was stopped in the middle starts anew.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import torch.hub

from tmal_core.errors import RunError, TmalError, WeightsError
from tmal_core.runtime.files import atomic_path, full_disk_is_clear

_HUGGING_FACE = re.compile(r"https://huggingface\.co/([^/]+/[^/]+)/resolve/([^/]+)/([^?]+)(\?.*)?")


def download(url: str, path: Path, check: Callable[[Path], None] = lambda part: None) -> None:
    """Fetch a file from a http or https address to `path`, in place of what is there; a bar shows how far it is.

    Args:
        check: called with the whole file before it moves to its place; what it raises is raised, and the file removed.

    Raises:
        WeightsError: another kind of address, no answer, or an answer that is no file.
        RunError: the disk is full, or the folder cannot be written to.
    """
    if not re.fullmatch(r"https?://[^\s/]\S*", url):
        raise WeightsError("an address that starts with https:// or http://", repr(url), "Give another --url.")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # torch.hub would wait for ever
    try:
        with atomic_path(path) as part:
            _fetch(url, part)
            check(part)
    except OSError as error:
        got = f"{error.strerror or error} ({error.filename or path.parent})"
        raise RunError(f"a folder {path.parent} to write to", got, "Correct it, or choose another.") from error
    finally:
        socket.setdefaulttimeout(before)


def _fetch(url: str, part: Path) -> None:
    try:
        with full_disk_is_clear(part.parent.parent):
            if found := _HUGGING_FACE.fullmatch(url):
                from huggingface_hub import hf_hub_download  # here: most files lie elsewhere

                Path(hf_hub_download(found[1], found[3], revision=found[2], local_dir=part.parent)).replace(part)
            else:
                torch.hub.download_url_to_file(url, str(part))
    except TmalError:
        raise
    except Exception as error:  # two libraries and the network: too many kinds to name
        raise _failure(url, error.__cause__ or error) from error  # huggingface_hub hides what happened in the cause


def _failure(url: str, error: BaseException) -> WeightsError:
    """What the network or the server does wrong, as an error for the user."""
    status = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)
    if status:
        return WeightsError(f"a file at {url}", f"status {status}", "Look at the address, or give another --url.")
    got = " ".join(str(getattr(error, "reason", error) or repr(error)).split())[:200]
    return WeightsError(f"an answer from {url}", got, "Look at the address and the network, and try again.")
