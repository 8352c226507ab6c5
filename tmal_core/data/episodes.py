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
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tmal_core.config import EpisodeSettings
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import EpisodeError
from tmal_core.runtime.seeding import Streams

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


EPISODES = 2**53
"""How many there are of each type: a notebook's page cannot count further."""


class EpisodeSampler:
    """All episodes of one episode type on one split.

    Args:
        catalog: the split, `catalog.select(split)`; rows of episodes are rows of its table.
        episode_type: families, and whether classes come in groups.
        way, shot, queries: N, K, Q; N is `GROUP_WAY` at most in grouped episode types.
        seed: of the stream of episodes.
        leave_out: names of classes that no episode draws from; their rows keep their numbers.

    Raises:
        EpisodeError: a way, shot or seed below the least; the split has too few classes, or a class too few clips;
            there is no episode of that number.

    >>> import pandas as pd, pathlib
    >>> table = pd.DataFrame({"class_name": list("aaabbbccc"), "base": list("123456789"), "family": "all"})
    >>> catalog = Catalog(pathlib.Path("videos"), table.assign(role="both", group=""))
    >>> sampler = EpisodeSampler(catalog, episode_types(catalog)[0], way=2, shot=1, queries=2, seed=0)
    >>> sampler[17].classes, sampler[17].support.tolist(), sampler[17].query.tolist()
    (('b', 'c'), [[4], [8]], [[3, 5], [7, 6]])
    """

    def __init__(
        self,
        catalog: Catalog,
        episode_type: EpisodeType,
        way: int,
        shot: int,
        queries: int,
        seed: int,
        leave_out: Collection[str] = (),
    ) -> None:
        self.episode_type, self.shot, self.queries, self.seed = episode_type, shot, queries, seed
        self.way = min(way, GROUP_WAY) if episode_type.grouped else way
        whole = _rows_by_base(catalog, episode_type.families)
        self._rows = {name: bases for name, bases in whole.items() if name not in leave_out}
        self.num_left_out = len(whole) - len(self._rows)
        self._groups = _groups(catalog, episode_type, self._rows, self.num_left_out)
        self._check()
        self._table = _Table.of(self._rows, self._groups)

    def __getitem__(self, index: int) -> Episode:
        if not 0 <= index < EPISODES:
            raise EpisodeError(f"an episode from 0 to {EPISODES - 1}", str(index), "Choose another number.")
        classes, support, query = self.draw(np.array([index]))
        return Episode(tuple(self._table.names[c] for c in classes[0]), support[0], query[0])

    @property
    def classes(self) -> list[str]:
        """Names of the classes that episodes draw from."""
        return sorted({name for group in self._groups for name in group})

    def draw(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Episodes of numbers (E,) at once: classes (E, N), rows of support (E, N, K) and of queries (E, N, Q)."""
        streams, table = Streams(numbers, self.seed, "episode", self.episode_type.name), self._table
        group = streams.below(np.full((len(numbers), 1), len(self._groups)))[:, 0]
        members = streams.distinct(table.members_of[group][:, None], self.way)[:, 0]
        classes = table.members[group[:, None], members]
        # Where classes share bases some of those drawn cannot be had: `_spare` more of them are enough.
        wanted = self.shot + self.queries if not table.shares else self._spare
        places = table.first[classes][:, :, None] + streams.distinct(table.bases_of[classes], wanted)
        if table.shares:
            return classes, *self._without_leaks(classes, places)
        return classes, table.support[places[:, :, : self.shot]], table.query[places[:, :, self.shot :]]

    def _without_leaks(self, classes: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Support and queries out of places (E, N, n) in the table, n for each class in the order of preference.

        No two clips of an episode are of one base, but for queries of a group, which are versions of the same ones.
        """
        table, support, query = self._table, list[np.ndarray](), list[np.ndarray]()
        taken = np.empty((len(classes), 0), np.int64)
        for label in range(self.way):  # support first: no class may use a base that another has in its support
            support.append(_first_free(places[:, label], table.base, taken, self.shot))
            taken = np.concatenate([taken, table.base[support[-1]]], 1)
        for label in range(self.way):
            offered, free = places[:, label], ~_among(table.base[places[:, label]], taken)
            if query and self.episode_type.grouped:
                twins, known = table.versions(table.base[query[-1]], classes[:, label])
                offered, free = np.concatenate([twins, offered], 1), np.concatenate([known, free], 1)
            query.append(_first(offered, free, self.queries))
            taken = np.concatenate([taken, table.base[query[-1]]], 1)
        return table.support[np.stack(support, 1)], table.query[np.stack(query, 1)]

    def _check(self) -> None:
        name = self.episode_type.name
        for what, value, least in (("way", self.way, 1), ("shot", self.shot, 1), ("seed", self.seed, 0)):
            if value < least:
                raise EpisodeError(f"a {what} from {least} on", str(value), "Choose another.")
        largest = max(len(group) for group in self._groups)
        if self.way > largest:
            got, remedy = f"{self.way}-way episodes of '{name}'", "Lower episodes.way or use a split with more classes."
            raise EpisodeError(f"a way of at most {largest}", f"{got}{_without(self.num_left_out)}", remedy)
        # In the worst case all classes that share a base are in the episode; within a group their queries are
        # the versions of the same bases.
        sharers = min(self.way, max(Counter(base for rows in self._rows.values() for base in rows).values()))
        self._spare = spare = sharers * self.shot + self.queries * (1 if self.episode_type.grouped else sharers)
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
    catalog: Catalog, episode_type: EpisodeType, episodes: EpisodeSettings, seed: int, leave_out: Collection[str] = ()
) -> EpisodeSampler:
    """Episodes as evaluation draws them from a split."""
    return EpisodeSampler(catalog, episode_type, episodes.way, episodes.shot, episodes.queries_eval, seed, leave_out)


@dataclass(frozen=True)
class _Table:
    """Classes and their bases as arrays. A place is a base in a class: one that two classes share has two places."""

    names: list[str]  # C classes
    members: np.ndarray  # (G, most) classes of each group, the first `members_of[g]` of a row
    members_of: np.ndarray  # (G,)
    first: np.ndarray  # (C,) place of each class's first base; the others follow
    bases_of: np.ndarray  # (C,) how many there are
    base: np.ndarray  # (P,) which base it is
    support: np.ndarray  # (P,) rows of the catalogue
    query: np.ndarray  # (P,)
    shares: bool  # whether a base is of two classes

    @classmethod
    def of(cls, rows: dict[str, dict[str, _Rows]], groups: list[list[str]]) -> _Table:
        names, sizes = list(rows), np.array([len(bases) for bases in rows.values()])
        number = {name: c for c, name in enumerate(names)}
        members = np.zeros((len(groups), max(map(len, groups))), np.int64)
        for g, group in enumerate(groups):
            members[g, : len(group)] = [number[name] for name in group]
        every = [(base, *slots) for bases in rows.values() for base, slots in bases.items()]
        bases, support, query = zip(*every, strict=True)
        different, base = np.unique(np.array(bases, str), return_inverse=True)
        return cls(
            names, members, np.array([len(group) for group in groups]), np.cumsum(sizes) - sizes, sizes, base,
            np.array(support), np.array(query), len(different) < len(bases),
        )  # fmt: skip

    def versions(self, bases: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places of bases (E, Q) in classes (E,), and whether there are such."""
        count = int(self.base.max()) + 1
        keys = np.repeat(np.arange(len(self.names)), self.bases_of) * count + self.base
        order = np.argsort(keys)
        wanted = classes[:, None] * count + bases
        at = order[np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)]
        return at, keys[at] == wanted


def _among(bases: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """(E, n) whether each of (E, n) bases is among its episode's (E, m)."""
    return (bases[:, :, None] == taken[:, None]).any(2)


def _first_free(places: np.ndarray, base: np.ndarray, taken: np.ndarray, count: int) -> np.ndarray:
    """The first `count` of places (E, n) whose base is not taken."""
    return _first(places, ~_among(base[places], taken), count)


def _first(places: np.ndarray, free: np.ndarray, count: int) -> np.ndarray:
    """The first `count` of places (E, n) that are free; there are as many."""
    chosen = np.argsort(~free, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(places, chosen, 1)


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


def _groups(
    catalog: Catalog, episode_type: EpisodeType, rows: dict[str, dict[str, _Rows]], num_left_out: int
) -> list[list[str]]:
    """Lists of class names among which an episode may choose."""
    if not rows:
        expected, got = f"classes of {', '.join(episode_type.families)}", f"none in this split{_without(num_left_out)}"
        raise EpisodeError(expected, got, "Prepare the data, or choose another split.")
    if not episode_type.grouped:
        return [sorted(rows)]
    groups: dict[str, set[str]] = {}
    for name, group in zip(catalog.table["class_name"], catalog.table["group"], strict=True):
        if name in rows:
            groups.setdefault(group, set()).add(name)
    found = [sorted(names) for _, names in sorted(groups.items()) if len(names) >= 2]
    if not found and num_left_out:  # what is left of groups is no group
        got = f"none of '{episode_type.name}'{_without(num_left_out)}"
        raise EpisodeError("a group of two classes and more", got, "Leave fewer classes out.")
    return found or [sorted(rows)]


def _without(num_left_out: int) -> str:
    """In words, where classes are left out."""
    return f" ({num_left_out} classes are left out)" if num_left_out else ""
