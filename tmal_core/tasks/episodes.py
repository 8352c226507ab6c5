"""Which episodes training and evaluation draw from a data set, and whether it can give them."""

from __future__ import annotations

from tmal_core.config import Settings, in_project
from tmal_core.data.episodes import GROUP_WAY, MIXED, EpisodeSampler, Protocol, protocols
from tmal_core.data.sets.catalog import FILE_NAME, Catalog, load_catalog
from tmal_core.tasks.synthesise import DIAGNOSTIC, planned_data


def training_samplers(settings: Settings, catalog: Catalog) -> list[EpisodeSampler]:
    """One per family of the training split.

    Every episode has about as many queries in all, way x queries_train: with fewer classes, each has more.

    Raises:
        EpisodeError: too few classes, or too few clips in a class.
    """
    e, samplers = settings.episodes, []
    for protocol in protocols(catalog):
        if protocol.name != MIXED:
            way = min(e.way, GROUP_WAY) if protocol.grouped else e.way
            queries = e.way * e.queries_train // way
            samplers.append(EpisodeSampler(catalog, protocol, way, e.shot, queries, settings.seed))
    return samplers


def evaluation_sampler(settings: Settings, catalog: Catalog, protocol: Protocol, seed: int) -> EpisodeSampler:
    """Episodes as evaluation draws them from a split.

    Raises:
        EpisodeError: too few classes, or too few clips in a class.
    """
    e = settings.episodes
    return EpisodeSampler(catalog, protocol, e.way, e.shot, e.queries_eval, seed)


def require_episodes(settings: Settings) -> None:
    """Check, before anything runs, that every split has the classes and clips for the episodes that are asked for.

    What the diagnostic data set will hold is known before it is made. Of another data set the catalogue tells; without
    one there is nothing to check.

    Raises:
        EpisodeError: too few classes, or too few clips in a class.
        DataError: a catalogue that cannot be read, or lacks a split.
    """
    root = in_project(settings.data.root)
    if settings.data.name == DIAGNOSTIC:
        catalog = planned_data(settings)
    elif (root / FILE_NAME).is_file():
        catalog = load_catalog(root)
    else:
        return
    training_samplers(settings, catalog.select("train"))
    for split in ("val", "test"):
        part = catalog.select(split)
        for protocol in protocols(part):
            evaluation_sampler(settings, part, protocol, settings.seed)
