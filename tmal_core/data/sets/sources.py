"""Where the real data sets come from: official source, licence, size, folder tree, and how many classes and videos the
published few-shot splits have. The one place for it; the notebook and the README show `source_table`.

Sizes are what the sources or their mirrors state, rounded. Licences are a hint, not advice: the source has the last
word. Numbers of classes and videos are those of CLIP-FSAR's lists (Wang et al., 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from tmal_core.data.sets.catalog import SPLITS


@dataclass(frozen=True)
class Source:
    """A real data set and its published few-shot split.

    Attributes:
        title: as papers write it.
        publisher, page: who gives it out, and where.
        contents, size: the whole data set, of which the split may use a part.
        licence: a hint; the source has the last word.
        tree: an example of a file as the lists name it, below the folder of the videos.
        classes, videos: of the published split, for train, val and test.
    """

    title: str
    publisher: str
    page: str
    contents: str
    size: str
    licence: str
    tree: str
    classes: Mapping[str, int]
    videos: Mapping[str, int]


def _per_split(*numbers: int) -> dict[str, int]:
    return dict(zip(SPLITS, numbers, strict=True))


_SSV2 = {
    "publisher": "Qualcomm (first TwentyBN)",
    "page": "https://www.qualcomm.com/developer/software/something-something-v-2-dataset",
    "contents": "220,847 clips of 174 classes, webm",
    "size": "19.4 GB",
    "licence": "research licence, on registration",
    "tree": "20bn-something-something-v2/78687.webm",
}

SOURCES = {
    "hmdb51": Source(
        title="HMDB51",
        publisher="Serre Lab, Brown University",
        page="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
        contents="6,766 clips of 51 classes, avi",
        size="2 GB",
        licence="CC BY 4.0",
        tree="videos/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi",
        classes=_per_split(31, 10, 10),
        videos=_per_split(4280, 1194, 1292),
    ),
    "ucf101": Source(
        title="UCF101",
        publisher="UCF CRCV",
        page="https://www.crcv.ucf.edu/data/UCF101.php",
        contents="13,320 clips of 101 classes, avi",
        size="6.5 GB",
        licence="none stated; given out for research",
        tree="videos/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi",
        classes=_per_split(70, 10, 21),
        videos=_per_split(9154, 1421, 2745),
    ),
    "kinetics100": Source(
        title="Kinetics-100",
        publisher="DeepMind (lists); the videos lie on YouTube",
        page="https://github.com/cvdfoundation/kinetics-dataset",
        contents="10,000 clips of 100 classes, out of 300,000 of Kinetics-400",
        size="Kinetics-400: 450 GB; these clips at short side 256: a few GB",
        licence="lists CC BY 4.0; each video under its own licence",
        tree="train_256/air_drumming/-VtLx-mcPds_000012_000022.mp4",
        classes=_per_split(64, 12, 24),
        videos=_per_split(6400, 1200, 2400),
    ),
    "ssv2_full": Source(
        title="Something-Something V2, full",
        classes=_per_split(64, 12, 24),
        videos=_per_split(67013, 1926, 2857),
        **_SSV2,
    ),
    "ssv2_small": Source(
        title="Something-Something V2, small",
        classes=_per_split(64, 12, 24),
        videos=_per_split(6400, 1200, 2400),
        **_SSV2,
    ),
}
"""By the name of the preset, which is also `data.name` in it."""


def source_table() -> pd.DataFrame:
    """One row per preset: data set, source, licence, size, tree, classes and videos of the split."""
    rows = [
        {
            "preset": f"`{name}`",
            "data set": f"[{source.title}]({source.page}), {source.publisher}",
            "whole data set": f"{source.contents}, {source.size}",
            "licence (check the source)": source.licence,
            "a file in it": f"`{source.tree}`",
            "classes train / val / test": " / ".join(str(number) for number in source.classes.values()),
            "videos train / val / test": " / ".join(f"{number:,}" for number in source.videos.values()),
        }
        for name, source in SOURCES.items()
    ]
    return pd.DataFrame(rows)


def source_markdown() -> str:
    """`source_table` in Markdown."""
    table = source_table()
    lines = [table.columns.tolist(), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
