"""Episodes: which clips are support and which are queries, as row numbers of a catalogue.

Episode i depends on (seed, i) alone: any worker may draw any episode, in any order. Letters: N way, K shot, Q queries
per class.

Classes of one group (`Catalog.table["group"]`) are told apart among themselves: such a family's episodes take
`GROUP_WAY` classes of one group. Where two classes of a group share bases (column `base`: a clip and its reversal
are two versions of one base), the queries of both are the two versions of the same bases, and no support clip is a
version of a query.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from tmal_core.config import EpisodeSettings
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import EpisodeError
from tmal_core.runtime.seeding import generator

GROUP_WAY = 2
MIXED = "mixed"


@dataclass(frozen=True)
class Episode:
    """Rows of the catalogue that the sampler was made with."""

    classes: tuple[str, ...]  # N names, in the order of the labels 0..N-1
    support: np.ndarray  # (N, K) int64
    query: np.ndarray  # (N, Q) int64


@dataclass(frozen=True)
class EpisodeType:
    """A kind of episode: a name for tables, the families it draws from, and whether it stays within groups."""

    name: str
    families: tuple[str, ...]
    grouped: bool


def episode_types(catalog: Catalog) -> list[EpisodeType]:
    """One episode type per family; where there are several, a mixed one over those whose clips may be in any role.

    >>> import pandas as pd, pathlib
    >>> table = pd.DataFrame({"family": ["scenes", "order", "order"], "group": ["", "g", "g"], "role": "both"})
    >>> [(kind.name, kind.grouped) for kind in episode_types(Catalog(pathlib.Path("videos"), table))]
    [('scenes', False), ('order', True), ('mixed', False)]
    """
    table = catalog.table
    found = [
        EpisodeType(family, (family,), bool((table.loc[table["family"] == family, "group"] != "").any()))
        for family in catalog.families
    ]
    plain = tuple(f for f in catalog.families if (table.loc[table["family"] == f, "role"] == "both").all())
    return [*found, EpisodeType(MIXED, plain, grouped=False)] if len(plain) > 1 else found


class EpisodeSampler:
    """All episodes of one episode type on one split.

    Args:
        catalog: the split, `catalog.select(split)`; rows of episodes are rows of its table.
        episode_type: families, and whether classes come in groups.
        way, shot, queries: N, K, Q; N is `GROUP_WAY` at most in grouped episode types.
        seed: of the stream of episodes.

    Raises:
        EpisodeError: the split has too few classes, or a class too few clips.

    >>> import pandas as pd, pathlib
    >>> table = pd.DataFrame({"class_name": list("aaabbbccc"), "base": list("123456789"), "family": "all"})
    >>> catalog = Catalog(pathlib.Path("videos"), table.assign(role="both", group=""))
    >>> sampler = EpisodeSampler(catalog, episode_types(catalog)[0], way=2, shot=1, queries=2, seed=0)
    >>> sampler[17].classes, sampler[17].support.tolist(), sampler[17].query.tolist()
    (('b', 'c'), [[4], [8]], [[5, 3], [6, 7]])
    """

    def __init__(
        self, catalog: Catalog, episode_type: EpisodeType, way: int, shot: int, queries: int, seed: int
    ) -> None:
        self.episode_type, self.shot, self.queries, self.seed = episode_type, shot, queries, seed
        self.way = min(way, GROUP_WAY) if episode_type.grouped else way
        self._rows = _rows_by_base(catalog, episode_type.families)
        self._bases = {name: list(rows) for name, rows in self._rows.items()}
        self._groups = _groups(catalog, episode_type, self._rows)
        self._check()

    def __getitem__(self, index: int) -> Episode:
        rng = generator(self.seed, "episode", self.episode_type.name, index)
        group = self._groups[rng.integers(len(self._groups))]
        classes = [group[i] for i in rng.choice(len(group), self.way, replace=False)]
        support = np.empty((self.way, self.shot), np.int64)
        query = np.empty((self.way, self.queries), np.int64)
        taken: set[str] = set()
        twins: list[str] = []
        for label, name in enumerate(classes):
            # Support first: no class may use a base that another class has in its support.
            chosen = self._untaken(name, rng, taken, self.shot)
            taken.update(chosen)
            support[label] = [self._rows[name][base].support for base in chosen]
        for label, name in enumerate(classes):
            twins = [base for base in twins if base in self._rows[name]] if self.episode_type.grouped else []
            chosen = (twins + self._untaken(name, rng, taken, self.queries))[: self.queries]
            taken.update(chosen)
            twins = chosen
            query[label] = [self._rows[name][base].query for base in chosen]
        return Episode(tuple(classes), support, query)

    def _untaken(self, name: str, rng: np.random.Generator, taken: set[str], count: int) -> list[str]:
        """The first `count` bases of a class, shuffled, that are not taken."""
        bases = self._bases[name]
        free = (base for base in map(bases.__getitem__, rng.permutation(len(bases))) if base not in taken)
        return list(islice(free, count))

    def _check(self) -> None:
        name = self.episode_type.name
        largest = max(len(group) for group in self._groups)
        if self.way > largest:
            got, remedy = f"{self.way}-way episodes of '{name}'", "Lower episodes.way or use a split with more classes."
            raise EpisodeError(f"a way of at most {largest}", got, remedy)
        # In the worst case all classes that share a base are in the episode; within a group their queries are
        # the versions of the same bases.
        sharers = min(self.way, max(Counter(base for rows in self._rows.values() for base in rows).values()))
        spare = sharers * self.shot + self.queries * (1 if self.episode_type.grouped else sharers)
        poorest = min((c for group in self._groups for c in group), key=lambda c: len(self._rows[c]))
        if len(self._rows[poorest]) < spare:
            expected = f"{spare} clips per class ({self.shot}-shot with {self.queries} queries, '{name}')"
            got = f"{len(self._rows[poorest])} of '{poorest}'"
            raise EpisodeError(expected, got, "Lower the shot or the queries, or leave the class out.")


def training_samplers(catalog: Catalog, episodes: EpisodeSettings, seed: int) -> list[EpisodeSampler]:
    """One per family of the training split.

    Every episode has about as many queries in all, way x queries_train: with fewer classes, each has more.
    """
    e, samplers = episodes, []
    for episode_type in episode_types(catalog):
        if episode_type.name != MIXED:
            way = min(e.way, GROUP_WAY) if episode_type.grouped else e.way
            samplers.append(EpisodeSampler(catalog, episode_type, way, e.shot, e.way * e.queries_train // way, seed))
    return samplers


def evaluation_sampler(
    catalog: Catalog, episode_type: EpisodeType, episodes: EpisodeSettings, seed: int
) -> EpisodeSampler:
    """Episodes as evaluation draws them from a split."""
    return EpisodeSampler(catalog, episode_type, episodes.way, episodes.shot, episodes.queries_eval, seed)


class _Rows(NamedTuple):
    """Rows of one base in one class: the same row twice, unless it has a support and a query file."""

    support: int
    query: int


def _rows_by_base(catalog: Catalog, families: tuple[str, ...]) -> dict[str, dict[str, _Rows]]:
    """Class name -> base -> rows, in the order of the table."""
    table = catalog.table
    rows: dict[str, dict[str, dict[str, int]]] = {}
    wanted = table["family"].isin(families).to_numpy()
    columns = (table[c].to_numpy()[wanted] for c in ("class_name", "base", "role"))
    for row, name, base, role in zip(np.flatnonzero(wanted), *columns, strict=True):
        slots = rows.setdefault(name, {}).setdefault(base, {})
        for slot in ("support", "query") if role == "both" else (role,):
            slots[slot] = int(row)
    # A base that lost one of its two files can be neither.
    return {
        name: {base: _Rows(**slots) for base, slots in bases.items() if len(slots) == 2} for name, bases in rows.items()
    }


def _groups(catalog: Catalog, episode_type: EpisodeType, rows: dict[str, dict[str, _Rows]]) -> list[list[str]]:
    """Lists of class names among which an episode may choose."""
    if not rows:
        expected = f"classes of {', '.join(episode_type.families)}"
        raise EpisodeError(expected, "none in this split", "Prepare the data, or choose another split.")
    if not episode_type.grouped:
        return [sorted(rows)]
    groups: dict[str, set[str]] = {}
    for name, group in zip(catalog.table["class_name"], catalog.table["group"], strict=True):
        if name in rows:
            groups.setdefault(group, set()).add(name)
    return [sorted(names) for _, names in sorted(groups.items()) if len(names) >= 2] or [sorted(rows)]
