"""`tmal prepare`: one pass over all videos of a data set, and the catalogue that everything else reads.

Every listed video ends as one of: used, missing (no file, or more than one that could be it), undecodable, too short.
What is not used is named in `prepare_problems.csv` with its reason and counted by class in `prepare_report.csv`. Too
many of them, or a class without any video, is an error; the two files are written before it is raised. A pass that was
stopped goes on where it was and ends with the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tmal_core.config import Settings, load_settings
from tmal_core.data.sets.catalog import FILE_NAME, Catalog, load_catalog, save_catalog, unnamed
from tmal_core.data.sets.folder import Folder, match, walk
from tmal_core.data.sets.lists import FILE_NAME as SPLITS_NAME
from tmal_core.data.sets.lists import check_published, load_splits, path_fault, save_splits
from tmal_core.data.sets.own_videos import folders_without_videos, moved_classes, own_splits
from tmal_core.data.sets.sources import SOURCES
from tmal_core.data.video.examination import Examined, Journal, examine_all
from tmal_core.errors import DataError
from tmal_core.runtime.files import atomic_path
from tmal_core.runtime.progress_bar import tqdm
from tmal_core.runtime.tables import load_csv, save_csv

REPORT, PROBLEMS = "prepare_report.csv", "prepare_problems.csv"
STATUSES = ("used", "missing", "undecodable", "too short")
MAX_EXTRA = 1000
"""Files that no list names are listed up to this number, and so are those left aside; all of them are counted."""
_UNCHECKED = "found"  # in place of "used" where nothing was decoded


@dataclass(frozen=True)
class Preparation:
    """What became of a data set."""

    name: str
    root: Path
    listed: pd.DataFrame  # one row per listed video: the splits' columns, `status`, `reason`, `file`, what was examined
    report: pd.DataFrame  # one row per class
    num_extra: int  # video files that no list names
    catalog: Catalog | None  # None where nothing was decoded
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Listed videos by status."""
        counts = self.listed["status"].value_counts()
        good = "used" if self.catalog else _UNCHECKED
        return {status: int(counts.get(status, 0)) for status in (good, *STATUSES[1:])}

    def __str__(self) -> str:
        counts = ", ".join(f"{number:,} {status}" for status, number in self.counts.items())
        lines = [f"{self.name}: {len(self.listed):,} videos listed: {counts}; {self.num_extra:,} other videos there"]
        if self.catalog:
            used = self.listed[self.listed["status"] == "used"]
            size = f"{_seconds(used).sum() / 3600:.1f} hours, {used['size'].sum() / 1e9:.2f} GB"
            lines.append(f"{int(used['num_frames'].sum()):,} frames, {size}: {FILE_NAME}")
        lines.append(f"by class: {self.root / REPORT}; each problem: {self.root / PROBLEMS}")
        return "\n".join([*lines, *self.notes])


def prepare_data_set(
    settings: Settings, videos: str | Path | None = None, decode: bool = True, progress: bool = True
) -> Preparation:
    """Examine every listed video and write the catalogue.

    Args:
        settings: `data.root` is the data folder, with `splits.csv` in it; `prepare` says what is let in;
            `compute.num_workers` processes decode.
        videos: folder of the videos; by default that of the last pass, else the data folder.
        decode: False only compares the lists with the folder: no file is opened, no catalogue written.

    Raises:
        DataError: no splits, no videos, more lost ones than `prepare.max_lost`, or a class without any.
    """
    root, data = settings.data.folder, settings.data
    table = load_splits(root)
    check_published(table, data.name, any_counts=True)
    if videos is None:
        videos = load_catalog(root).root if (root / FILE_NAME).is_file() else root
    folder = _walk(root, Path(videos))
    found = match(table, folder)
    listed = table.join(found)
    if decode:
        examined = _examine(root, folder.root, found["file"], data.decoder, settings.compute.num_workers, progress)
        figures = [_figures(examined.get(file, Examined(""))) for file in found["file"]]
        listed = listed.join(pd.DataFrame(figures, index=table.index))
        listed["status"], listed["reason"] = _judge(listed, settings.prepare.min_frames)
    else:
        listed["status"] = np.where(found["file"] != "", _UNCHECKED, "missing")
    report = _class_report(listed)
    extra = sorted(set(folder.paths()) - set(found["file"]))
    save_csv(report, root / REPORT)
    save_csv(_problems(listed, folder, extra), root / PROBLEMS)
    _check(listed, folder, root, settings.prepare.max_lost)
    notes = _notes(listed, settings)
    for path, reason in [*folder.aside.items()][:1]:
        notes.append(f"{len(folder.aside):,} files and folders are left aside, as {path} ({reason}): {PROBLEMS}")
    catalog = _save(root, folder.root, listed) if decode else None
    return Preparation(data.name, root, listed, report, len(extra), catalog, notes)


def own_settings(settings: Settings, videos: Path, out: Path | None = None) -> Settings:
    """The settings with name and data folder of your own videos: by default `data/<name of their folder>`."""
    name = videos.resolve().name
    name = f"my_{name}" if name in SOURCES else name  # whose published numbers do not hold for it
    root = str(out.resolve()) if out else f"data/{name}"
    return settings.replace({"data.name": name, "data.root": root})


def prepare_own(
    settings: Settings, videos: str | Path, numbers: str, decode: bool = True, progress: bool = True
) -> tuple[Preparation, Path]:
    """Prepare a folder with one subfolder per class; see `tmal_core.data.sets.own_videos`.

    Returns:
        The preparation, and the preset that was written beside the catalogue: these settings, for all later commands.

    Raises:
        SettingsError, DataError: as `own_splits` and `prepare` do; or classes that were dealt out otherwise before.
    """
    root = settings.data.folder
    folder = _walk(root, Path(videos))
    table = own_splits(folder, numbers, settings.seed, settings.episodes.way)
    known = root / SPLITS_NAME
    if known.is_file() and (moved := moved_classes(load_splits(root), table)):
        name, (old, new) = next(iter(moved.items()))
        got = f"{len(moved)} that would move, as {name} from {old} to {new}"
        remedy = f"Use the old numbers and seed, or remove {known} to deal all classes out anew."
        raise DataError(f"classes in the splits of {known}", got, remedy)
    save_splits(root, table)
    prepared = prepare_data_set(settings, videos, decode, progress)
    empty = [name for name in folders_without_videos(folder) if not (name == "flow" and folder.root == root.resolve())]
    if empty:
        prepared.notes.append(f"{len(empty)} folders without videos are no classes: {', '.join(empty)}")
    return prepared, _save_preset(settings, root / f"{settings.data.name}.yaml")


def _save_preset(settings: Settings, path: Path) -> Path:
    """Write settings as a preset: what differs from the defaults, the data set, and what holds for single methods."""
    defaults = Settings(preset=settings.preset).to_flat()
    tree: dict[str, Any] = {"seed": settings.seed}
    if settings.methods:
        tree["methods"] = settings.model_dump(mode="json")["methods"]
    for key, value in settings.to_flat().items():
        section, _, name = key.partition(".")
        if section != "methods" and name and (value != defaults[key] or key in ("data.name", "data.root")):
            tree.setdefault(section, {})[name] = value
    with atomic_path(path) as temporary:
        text = f"# Written by `tmal prepare`. Use it as --preset {path.name} with its folder.\n"
        temporary.write_text(text + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), encoding="utf-8")
        load_settings(temporary)
    return path


def _class_report(listed: pd.DataFrame) -> pd.DataFrame:
    """One row per class: videos listed and by status, and figures of the used ones."""
    rows = []
    decoded = "num_frames" in listed
    for (split, name), group in listed.groupby(["split", "class_name"], sort=False):
        row: dict[str, object] = {"split": split, "class_name": name, "listed": len(group)}
        statuses = STATUSES if decoded else (_UNCHECKED, "missing")
        row |= {status: int((group["status"] == status).sum()) for status in statuses}
        if decoded:
            used = group[group["status"] == "used"]
            row["lost_frames"] = int((used["lost_frames"] > 0).sum())
            middle = used[["num_frames", "fps"]].agg(["min", "median", "max"]).fillna(0.0)
            row |= {f"frames_{what}": float(middle.at[what, "num_frames"]) for what in middle.index}
            row |= {"fps_median": float(middle.at["median", "fps"]), "seconds": round(float(_seconds(used).sum()), 1)}
            sizes = (used["width"].astype(str) + "x" + used["height"].astype(str)).mode()
            row["commonest_size"] = sizes.iat[0] if len(sizes) else ""
        rows.append(row)
    return pd.DataFrame(rows)


def load_report(folder: Path) -> pd.DataFrame:
    """`prepare_report.csv` of the data set in a folder: one row per class. DataError where it is gone or damaged."""
    return _read(folder / REPORT)


def lost_videos(folder: Path, split: str) -> pd.DataFrame:
    """Rows of `prepare_problems.csv`: a split's listed videos that are not used. DataError as for `load_report`."""
    table = _read(folder / PROBLEMS)
    return table[(table["split"] == split) & table["kind"].isin(STATUSES)].reset_index(drop=True)


def _walk(root: Path, videos: Path) -> Folder:
    return walk(videos, is_data_folder=videos.resolve() == root.resolve())


def _examine(
    root: Path, videos: Path, files: pd.Series, decoder: str, num_workers: int, progress: bool
) -> Mapping[str, Examined]:
    """File -> what is in it; from the journal where it has not changed since."""
    wanted = [file for file in files if file]
    with Journal(root, decoder) as journal:
        found = {file: known for file in wanted if (known := journal.recall(videos, file)) is not None}
        left = [file for file in wanted if file not in found]
        broken = 0
        with tqdm(total=len(wanted), initial=len(found), desc="videos", unit="video", disable=not progress) as bar:
            for examined in examine_all(videos, left, decoder, num_workers):
                found[examined.path] = examined
                journal.add(examined)
                bar.update()
                if examined.reason:
                    broken += 1
                    bar.set_postfix(undecodable=broken, refresh=False)
        journal.compact()
    return found


def _figures(found: Examined) -> dict[str, object]:
    names = ("size", "num_frames", "lost_frames", "fps", "height", "width", "codec", "sha256")
    return {**{name: getattr(found, name) for name in names}, "failure": found.reason}


def _judge(listed: pd.DataFrame, min_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Status and reason of every listed video."""
    conditions = [listed["file"] == "", listed["failure"] != "", listed["num_frames"] < min_frames]
    short = listed["num_frames"].astype(str) + f" frames, fewer than {min_frames} (prepare.min_frames)"
    status = np.select(conditions, STATUSES[1:], "used")
    return status, np.select(conditions, [listed["reason"], listed["failure"], short], "")


def _problems(listed: pd.DataFrame, folder: Folder, extra: list[str]) -> pd.DataFrame:
    """One row per lost video, cut video, second copy, refused path and file that no list names."""
    rows = []
    seen: dict[str, tuple[str, str]] = {}
    for row in listed.itertuples():
        place = (row.video, row.split, row.class_name, row.file or row.path)
        if row.status not in ("used", _UNCHECKED):
            rows.append((row.status, *place, row.reason))
        elif row.status == "used":
            if row.lost_frames:
                rows.append(("frames lost", *place, f"used with {row.num_frames} frames, {row.lost_frames} are lost"))
            twin, where = seen.setdefault(row.sha256, (row.video, row.split))
            if twin != row.video:
                rows.append(("same content", *place, f"used, though its bytes are those of {twin} in {where}"))
    aside = [("refused", path, reason) for path, reason in folder.aside.items()]
    unnamed = [("extra", path, path_fault(path) or "no list names it, or another file was taken") for path in extra]
    for found in (aside, unnamed):
        rows += [(kind, "", "", "", path, reason) for kind, path, reason in found[:MAX_EXTRA]]
        if len(found) > MAX_EXTRA:
            rows.append((found[0][0], "", "", "", "", f"and {len(found) - MAX_EXTRA:,} more"))
    return pd.DataFrame(rows, columns=["kind", "video", "split", "class_name", "path", "reason"])


def _check(listed: pd.DataFrame, folder: Folder, root: Path, limit: float) -> None:
    good = listed["status"].isin(["used", _UNCHECKED])
    lost = listed[~good]
    if len(lost) > limit * len(listed):
        first = lost.iloc[0]
        share = f"{len(lost):,} of {len(listed):,} ({100 * len(lost) / len(listed):.1f} %)"
        got = f"{share}, as {first['path']} ({first['reason']}); all in {root / PROBLEMS}"
        remedy = "Add them and run the same command again, or allow more: --set prepare.max_lost=0.1 for a tenth."
        links = [path for path, reason in folder.refused.items() if "leads out" in reason]
        if links:
            remedy += f" {len(links)} links lead out of {folder.root}, as {links[0]}: name the folder itself, --videos."
        raise DataError(f"at most {100 * limit:g} % of the listed videos lost", got, remedy)
    some = good.groupby([listed["split"], listed["class_name"]], sort=False).any()
    empty = [f"{name!r} ({split})" for split, name in some.index[~some]]
    if empty:
        got = f"none for {len(empty)}, as {empty[0]}; see {root / PROBLEMS}"
        raise DataError("videos for every class", got, "Add them and run the same command again.")


def _notes(listed: pd.DataFrame, settings: Settings) -> list[str]:
    """What a user should know and nothing is wrong with."""
    notes = []
    pairs = listed[["split", "class_id", "class_name"]].drop_duplicates().itertuples(index=False)
    nameless = [name for split, class_id, name in pairs if name == unnamed(split, class_id)]
    if nameless:
        notes.append(f"{len(nameless)} classes are unnamed: methods that read class names need their label files")
    good = listed[listed["status"].isin(["used", _UNCHECKED])]
    e, trained = settings.episodes, settings.episodes_in_training.shot
    asked = {"train": (trained, e.queries_train), "val": (e.shot, e.queries_eval), "test": (e.shot, e.queries_eval)}
    for split, (shot, queries) in asked.items():
        sizes = good.loc[good["split"] == split, "class_name"].value_counts()
        few = sizes[sizes < shot + queries]
        if len(few):
            wanted = f"{shot + queries} that {shot}-shot episodes with {queries} queries take"
            notes.append(f"{len(few)} classes of {split} have fewer videos than the {wanted}, as {few.index[-1]!r}")
    return notes


def _save(root: Path, videos: Path, listed: pd.DataFrame) -> Catalog:
    used = listed[listed["status"] == "used"]
    table = used.assign(path=used["file"], base=used["video"], family="all", role="both", group="")
    counts = {str(split): int(number) for split, number in listed["split"].value_counts(sort=False).items()}
    return save_catalog(root, table, None if videos == root.resolve() else videos, counts)


def _seconds(used: pd.DataFrame) -> pd.Series:
    return (used["num_frames"] / used["fps"].where(used["fps"] > 0)).fillna(0.0)


def _read(path: Path) -> pd.DataFrame:
    try:
        return load_csv(path)
    except (OSError, ValueError) as error:
        got = f"{path} ({' '.join(str(error).split())[:120]})"
        raise DataError("a report of the preparation", got, "Run `tmal prepare`: nothing is decoded twice.") from error
