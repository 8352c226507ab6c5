"""Data sets: made, listed, examined, and their flow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tmal_core.cli.options import (
    NONE,
    Preset,
    Sets,
    experiment_of,
    flag,
    many,
    opt,
    parse_overrides,
    preset_option,
    settings_of,
)
from tmal_core.errors import SettingsError

LISTS = "a checkout of CLIP-FSAR, a folder with its lists, or a single list"
DEAL = "the folder has one subfolder per class: deal them out, as 64/12/24, classes or percentages"
Beside = Annotated[Path | None, opt("folder of the data set, in place of data.root; flow is kept beside it")]
Cluster = Literal["slurm", "local"]


def synthesise(
    preset: Preset = "tiny",
    sets: Sets = NONE,
    out: Annotated[Path | None, opt("its folder, in place of data.root")] = None,
) -> None:
    """Make the diagnostic data set, where it is missing."""
    settings = settings_of(preset, sets, out)
    from tmal_core.tasks.synthesise import make_diagnostic

    catalog = make_diagnostic(settings.data, settings.compute.num_threads)
    print(f"{len(catalog.table)} clips in {out or settings.data.root}")


def import_lists(
    sources: Annotated[list[Path], many(LISTS, "PATH", "--from")],
    preset: Annotated[str, opt("of the data set: a preset's name or a YAML file")],
    out: Annotated[Path | None, opt("data folder, in place of the preset's data.root")] = None,
    labels: Annotated[Path | None, opt("of Something-Something's label files", "FOLDER")] = None,
    any_counts: Annotated[bool, flag("--any-counts", "accept lists with more or fewer videos than published")] = False,
) -> None:
    """Read lists in CLIP-FSAR's format, check them, and write splits.csv into the data folder."""
    data = settings_of(preset, []).data
    from tmal_core.tasks.splits import import_splits

    print(import_splits(sources, data.name, out or data.folder, labels, any_counts))


def prepare(
    preset: Annotated[str | None, preset_option("none; own videos take kinetics100")] = None,
    sets: Sets = NONE,
    videos: Annotated[Path | None, opt("folder of the videos (default: that of the last pass, data.root)")] = None,
    out: Annotated[Path | None, opt("data folder of catalogue and reports, in place of data.root")] = None,
    split_by_class: Annotated[str | None, opt(DEAL, "TRAIN/VAL/TEST")] = None,
    check: Annotated[bool, flag("--check", "only compare lists and folder; no video is opened")] = False,
) -> None:
    """Examine the videos of a data set and write its catalogue; goes on."""
    if split_by_class and videos is None:
        raise SettingsError("--videos with --split-by-class", "none", "Name the folder with one subfolder per class.")
    if not split_by_class and preset is None:
        remedy = "Name one of the real data sets, or pass --split-by-class for your own videos."
        raise SettingsError("--preset or --split-by-class", "neither", remedy)
    # Your own clips are nearest to Kinetics, but their classes may speak of left and right.
    near = ["sampling.flip=false", "sampling.augment_queries=false", "prepare.max_lost=0.02"] if preset is None else []
    settings = settings_of(preset or "kinetics100", [*near, *sets], None if split_by_class else out)
    from tmal_core.tasks.prepare import own_settings, prepare_data_set, prepare_own

    if split_by_class and videos:
        settings = own_settings(settings, videos, out)
        prepared, written = prepare_own(settings, videos, split_by_class, decode=not check)
        print(f"{prepared}\nfor all later commands: --preset {written}")
    else:
        print(prepare_data_set(settings, videos, decode=not check))


def flow(
    preset: Preset = "tiny",
    sets: Sets = NONE,
    out: Beside = None,
    estimator: Annotated[str | None, opt("in place of flow.estimator", "NAME")] = None,
    cluster: Annotated[Cluster | None, opt("run as jobs by submitit", show_default="this process")] = None,
    num_shards: Annotated[int, opt("jobs on the cluster", "N", min=1)] = 1,
    job: Annotated[list[str], many("a parameter of submitit, as in slurm_partition=gpu", "NAME=VALUE")] = NONE,
) -> None:
    """Optical flow for every video, where it is missing."""
    if (job or num_shards > 1) and cluster is None:
        remedy = "Add --cluster slurm, or leave out --num-shards and --job."
        raise SettingsError("--cluster with --num-shards and --job", "none", remedy)
    experiment = experiment_of(preset, [*sets, *([f"flow.estimator={estimator}"] if estimator else [])], data=out)
    from tmal_core.tasks.flow import extract_flow

    print(extract_flow(experiment, cluster, num_shards, parse_overrides(job) or None))
