"""Where the real data sets come from: official source, licence, size, folder tree, and how many classes and videos the
published few-shot splits have (CLIP-FSAR's lists, Wang et al., 2023). The notebook and the README show it.

Sizes are what the sources or their mirrors state, rounded. Licences are a hint, not advice: the source has the last
word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tmal_core.data.sets.catalog import SPLITS


@dataclass(frozen=True)
class Source:
    """A real data set and its published few-shot split."""

    title: str  # as papers write it
    publisher: str
    page: str
    contents: str  # and size of the whole data set, of which the split may use a part
    licence: str
    tree: str  # an example of a file as the lists name it, below the folder of the videos
    classes: Mapping[str, int]  # of the published split
    videos: Mapping[str, int]


def _per_split(*numbers: int) -> dict[str, int]:
    return dict(zip(SPLITS, numbers, strict=True))


_SSV2 = (
    "Qualcomm (first TwentyBN)",
    "https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
    "220,847 clips of 174 classes, webm, 19.4 GB",
    "research licence, on registration",
    "20bn-something-something-v2/78687.webm",
    _per_split(64, 12, 24),
)

SOURCES = {
    "hmdb51": Source(
        "HMDB51",
        "Serre Lab, Brown University",
        "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
        "6,766 clips of 51 classes, avi, 2 GB",
        "CC BY 4.0",
        "videos/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi",
        classes=_per_split(31, 10, 10),
        videos=_per_split(4280, 1194, 1292),
    ),
    "ucf101": Source(
        "UCF101",
        "UCF CRCV",
        "https://www.crcv.ucf.edu/data/UCF101.php",
        "13,320 clips of 101 classes, avi, 6.5 GB",
        "none stated; given out for research",
        "videos/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
        classes=_per_split(70, 10, 21),
        videos=_per_split(9154, 1421, 2745),
    ),
    "kinetics100": Source(
        "Kinetics-100",
        "DeepMind (lists); the videos lie on YouTube",
        "https://github.com/cvdfoundation/kinetics-dataset",
        "10,000 clips of 100 classes, out of 300,000 of Kinetics-400, "
        "Kinetics-400: 450 GB; these clips at short side 256: a few GB",
        "lists CC BY 4.0; each video under its own licence",
        "train_256/air_drumming/-VtLx-mcPds_000012_000022.mp4",
        classes=_per_split(64, 12, 24),
        videos=_per_split(6400, 1200, 2400),
    ),
    "ssv2_full": Source("Something-Something V2, full", *_SSV2, videos=_per_split(67013, 1926, 2857)),
    "ssv2_small": Source("Something-Something V2, small", *_SSV2, videos=_per_split(6400, 1200, 2400)),
}
"""By the name of the preset, which is also `data.name` in it."""


def source_markdown() -> str:
    """A table in Markdown, one row per preset."""
    rows = [
        {
            "preset": f"`{name}`",
            "data set": f"[{source.title}]({source.page}), {source.publisher}",
            "whole data set": source.contents,
            "licence (check the source)": source.licence,
            "a file in it": f"`{source.tree}`",
            "classes train / val / test": " / ".join(str(number) for number in source.classes.values()),
            "videos train / val / test": " / ".join(f"{number:,}" for number in source.videos.values()),
        }
        for name, source in SOURCES.items()
    ]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
