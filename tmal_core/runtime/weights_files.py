"""Weights files that the project can use: what each is for, where it belongs and comes from, and its checksum.

All lie in one folder: `data/weights` of the project, or the one that the environment variable TMAL_WEIGHTS names. It is
no setting: where a file lies changes no result, and settings name runs.

A checksum is only here where its publisher made it public: OpenAI writes the sha256 into the addresses of CLIP,
torchvision the first eight digits into its file names. Where there is none, `record` writes down that of the file at
hand (`SHA256SUMS` in the folder, as `sha256sum --check` reads it), and from then on the file must stay that one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tmal_core.config import in_project
from tmal_core.errors import SettingsError, WeightsError
from tmal_core.runtime.files import atomic_path, file_sha256
from tmal_core.runtime.progress_bar import tqdm

VARIABLE = "TMAL_WEIGHTS"
DEFAULT_FOLDER = "data/weights"
RECORD = "SHA256SUMS"

_OPENAI = "https://openaipublic.azureedge.net/clip/models"
_TORCHVISION = "https://download.pytorch.org/models"
_FLOWNET2 = "the links under 'Converted Caffe Pre-trained Models' in the README of NVIDIA/flownet2-pytorch"
_ST_ADAPTER = "the checkpoint links under 'Model zoo' in the README of linziyi96/st-adapter"
_CLIP_FSAR = "a training run of alibaba-mmai-research/CLIP-FSAR, whose authors publish no checkpoints"


@dataclass(frozen=True)
class WeightsFile:
    """One file that the project can use."""

    name: str
    purpose: str
    file: str  # its name in the folder of weights
    source: str  # where a person finds it
    url: str | None = None  # where `tmal weights fetch` finds it; none where a person has to click
    sha256: str = ""  # hexadecimal, as published: whole, its beginning, or empty
    megabytes: int = 0  # about how large it is, 0 where nobody says; only for people
    home: str | None = None  # folder of the project where it lies instead, for what comes with the project
    torchscript: bool = False  # an archive with code in it, which is opened only once its whole checksum matched

    @property
    def stated(self) -> str:
        """The published checksum in words."""
        return f"sha256 {self.sha256[:12]}..." if self.sha256 else "its publisher states no checksum"


def _clip(model: str, sha256: str, megabytes: int, file: str | None = None) -> WeightsFile:
    name, file = f"clip_{model.lower().replace('-', '_')}", file or f"{model}.pt"
    url = f"{_OPENAI}/{sha256}/{file}"
    return WeightsFile(name, f"CLIP {model}, OpenAI", file, url, url, sha256, megabytes, torchscript=True)


def _raft(name: str, file: str, megabytes: int) -> WeightsFile:
    url, checksum = f"{_TORCHVISION}/{file}", file.rsplit("-", 1)[-1].removesuffix(".pth")
    return WeightsFile(name, "optical flow, RAFT", file, url, url, checksum, megabytes)


def _flownet2(variant: str, megabytes: int) -> WeightsFile:
    name, file = "flownet2" + variant.lower(), f"FlowNet2{variant and '-' + variant}_checkpoint.pth.tar"
    return WeightsFile(name, "optical flow, FlowNet 2.0", file, _FLOWNET2, megabytes=megabytes)


_TINY = "open_clip_model.safetensors"
_ALL = (
    WeightsFile("tiny_clip", "the tiny preset's CLIP", _TINY, "the project itself", megabytes=8, home="data/tiny_clip"),
    _clip("ViT-B-32", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", 354),
    _clip("ViT-B-16", "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f", 351),
    _clip("ViT-L-14", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", 933),
    _clip("ViT-L-14-336", "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02", 934, "ViT-L-14-336px.pt"),
    _raft("raft_small", "raft_small_C_T_V2-01064c6d.pth", 4),
    _raft("raft_large", "raft_large_C_T_SKHT_V2-ff5fadd5.pth", 21),
    *(_flownet2(*it) for it in (("", 620), ("C", 149), ("S", 148), ("SD", 173), ("CS", 297), ("CSS", 445))),
    WeightsFile("st_adapter_ssv2", "ST-Adapter 24x384, ssv2", "st_adapter_ssv2_vitb16_24x384.pth", _ST_ADAPTER),
    WeightsFile("st_adapter_k400", "ST-Adapter 12x384, k400", "st_adapter_k400_vitb16_12x384.pth", _ST_ADAPTER),
    WeightsFile("clip_fsar", "CLIP-FSAR, trained", "clip_fsar_checkpoint.pyth", _CLIP_FSAR),
)
WEIGHTS = {entry.name: entry for entry in _ALL}
"""Every file by name."""

ABSENT, WRONG, UNREADABLE = "missing", "WRONG FILE", "unreadable"
RIGHT, RECORDED, UNCHECKED = "there, as published", "there, as recorded", "there, unchecked"
SHIPPED = "comes with the project"


class Found(NamedTuple):
    """What was found of a file."""

    path: Path
    state: str  # one of ABSENT, RIGHT, RECORDED, UNCHECKED, SHIPPED, WRONG, UNREADABLE
    digest: str  # sha256 of the file; empty where it was not read


def weights_folder() -> Path:
    """The folder of weights files: that of TMAL_WEIGHTS (a relative one from the project's root), or the default."""
    return in_project(Path(os.environ.get(VARIABLE) or DEFAULT_FOLDER).expanduser())


def entry_of(name: str) -> WeightsFile:
    """The file of that name; SettingsError if there is none."""
    if name not in WEIGHTS:
        raise SettingsError(f"weights among {', '.join(WEIGHTS)}", repr(name), "See `tmal weights`.")
    return WEIGHTS[name]


def weights_path(entry: WeightsFile, folder: Path | None = None) -> Path:
    """Where a file belongs, whether it is there or not."""
    return (in_project(entry.home) if entry.home else folder or weights_folder()) / entry.file


def resolve(text: str | Path) -> Path:
    """The path that somebody means by a name of WEIGHTS, a path, or the name of a file in the folder of weights.

    Relative paths start at the project's root. What is nowhere gives that path: opening it will say so.
    """
    if str(text) in WEIGHTS:
        return weights_path(WEIGHTS[str(text)])
    path = in_project(Path(text).expanduser())
    kept = weights_folder() / text
    return kept if kept.is_file() and not path.exists() else path


def require(entry: WeightsFile, folder: Path | None = None) -> tuple[Path, str]:
    """Path and sha256 of a file that has to be there and to be the right one.

    Raises:
        WeightsError: it is missing, cannot be read, or has another checksum than was published or recorded.
    """
    path = weights_path(entry, folder)
    if not path.is_file():
        raise WeightsError(f"{path} ({entry.stated})", "no such file", how_to_get(entry, path.parent))
    digest = sha256_of(path)
    check_digest(entry, path, digest)
    return path, digest


def check_digest(entry: WeightsFile, path: Path, digest: str) -> None:
    """Raise WeightsError unless a file's sha256 is the published one, or else the one recorded in its folder."""
    got = f"sha256 {digest[:12]}..."
    if not digest.startswith(entry.sha256):
        raise WeightsError(f"{path} ({entry.stated})", got, f"Replace it by {entry.file} from {entry.source}.")
    recorded = "" if entry.sha256 else read_record(path.parent).get(path.name, "")
    if recorded not in ("", digest):
        remedy = f"Put back the file it was, or record this one by `tmal weights record {entry.name}`."
        raise WeightsError(f"{path} (recorded sha256 {recorded[:12]}...)", got, remedy)


def look(entry: WeightsFile, progress: bool = False) -> Found:
    """What of a file is there; with a bar, if wanted, while a large file is read.

    Raises:
        WeightsError: the record in the folder is damaged; all else is a state.
    """
    path, digest = weights_path(entry), ""
    recorded = path.name in read_record(path.parent)
    if not path.is_file():
        return Found(path, ABSENT, "")
    try:
        digest = sha256_of(path, progress)
        check_digest(entry, path, digest)
    except WeightsError:
        return Found(path, WRONG if digest else UNREADABLE, digest)
    right = SHIPPED if entry.home else RIGHT if entry.sha256 else RECORDED if recorded else UNCHECKED
    return Found(path, right, digest)


def how_to_get(entry: WeightsFile, folder: Path) -> str:
    """What to do for a file that is missing, in a sentence."""
    hand = f"ake {entry.file} from {entry.source} and put it into {folder}."
    return f"Run `tmal weights fetch {entry.name}`, or t{hand}" if entry.url else f"T{hand}"


def record(entry: WeightsFile) -> str:
    """Write down the sha256 of a file whose publisher states none; gives it.

    Raises:
        WeightsError: the file is missing or cannot be read, or has a published checksum already.
    """
    if entry.sha256:
        raise WeightsError("weights without a published checksum", f"{entry.name} ({entry.stated})", "Nothing to do.")
    path = weights_path(entry)
    if not path.is_file():
        raise WeightsError(str(path), "no such file", how_to_get(entry, path.parent))
    digest = sha256_of(path)
    lines = read_record(path.parent) | {path.name: digest}
    with atomic_path(path.parent / RECORD) as temporary:
        temporary.write_text("".join(f"{lines[name]}  {name}\n" for name in sorted(lines)), encoding="utf-8")
    return digest


def read_record(folder: Path) -> dict[str, str]:
    """Recorded sha256 by file name; WeightsError for a line of the record that is not `<sha256>  <file>`."""
    path, digests = folder / RECORD, {}
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for number, line in enumerate(text.splitlines(), start=1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or set(digest) - set("0123456789abcdef") or not name:
            got = f"{line[:80]!r} in line {number} of {path}"
            raise WeightsError("<sha256>  <file>", got, "Correct or remove the line.")
        digests[name] = digest
    return digests


def sha256_of(path: Path, progress: bool = False) -> str:
    """sha256 of a file, hexadecimal; WeightsError if it cannot be read."""
    try:
        size, name = path.stat().st_size, f"checking {path.name}"
        with tqdm(total=size, desc=name, unit="B", unit_scale=True, leave=False, delay=1, disable=not progress) as bar:
            return file_sha256(path, bar.update)
    except OSError as error:
        got = error.strerror or str(error)
        raise WeightsError(f"a readable file {path}", got, "Make the file readable.") from error
