"""What methods answered, query by query, as one Parquet file of a run: `tables/answers-<split>.parquet`.

One row per method, episode type, episode and query, in this order:

    method, episode_type    names
    episode                 number in the stream of `evaluation.seed`, from 0
    query                   place in the episode, from 0: N * Q of them, the first Q are of the episode's first class
    video                   the query's name in the catalogue
    true_class, answered    names of classes
    correct                 bool
    group                   of the query's class, where classes come in groups, else empty

The schema's metadata holds, as JSON under `tmal`, what was asked (split, data set, way, shot, and of each episode type
the number of episodes, their seed and a hash of all their videos) and of each method what answered: settings, seed of
training, hash of the frames it read, digits of its checkpoint. Support clips are not repeated in each row: `Episodes`
of the same seed has them. 10,000 episodes of 5 queries take 0.2 MB per method.

Letters: E episodes, N way, Q queries per class.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tmal_core.config import CHANGES_NO_NUMBER, LEFT_ALONE, flatten
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import RunError
from tmal_core.evaluation.scoring import Episodes, Outcome
from tmal_core.runtime.files import atomic_path

_METADATA = b"tmal"
_NAMES = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [
        ("method", _NAMES),
        ("episode_type", _NAMES),
        ("episode", pa.int32()),
        ("query", pa.int16()),
        ("video", _NAMES),
        ("true_class", _NAMES),
        ("answered", _NAMES),
        ("correct", pa.bool_()),
        ("group", _NAMES),
    ]
)
_TRAINING = ("sampling", "episodes", "model", "training", "flow")
"""Sections of settings that decide what is learned, beside the data set's name."""


class Asked(NamedTuple):
    """The episodes of one type."""

    episodes: int  # E
    way: int  # N, two where classes come in groups
    queries: int  # Q
    seed: int  # of the stream that they are the first E of
    digest: str  # of their support and query videos


class Answerer(NamedTuple):
    """A method and what decides its answers."""

    title: str
    trained: bool
    inputs: tuple[str, ...]  # what it reads, in words
    text_at_test: str  # `tmal_core.models.methods.text_at_test`
    settings: str  # hash
    recipe: Mapping[str, Any]  # dotted settings that decide its answers, without the seed of training (`recipe_of`)
    seed: int | None  # of training, or of random weights; None where nothing is drawn by it
    positions: str  # hash of the frames that the clips showed
    checkpoint: str  # first digits of the trained weights' sha256, else empty


@dataclass(frozen=True)
class Answers:
    """A file of answers, read."""

    split: str
    data: str  # name of the data set
    way: int  # as set; `asked` has what each episode type has of it
    shot: int
    asked: Mapping[str, Asked]  # by episode type
    methods: Mapping[str, Answerer]
    intervals: Mapping[str, Any]  # confidence, bootstrap, resampling_seed
    correct: Mapping[tuple[str, str], np.ndarray]  # method, episode type -> (E, N, Q) bool
    units: Mapping[str, np.ndarray]  # episode type -> (E, N, Q) the query's group, or its class where it has none


def recipe_of(settings: Mapping[str, Any], trained_with: Mapping[str, Any], trained: bool) -> dict[str, Any]:
    """What decides a method's answers apart from the seed of training: two that differ in it are two rows of a table.

    Args:
        settings: dotted, under which it answered.
        trained_with: dotted, under which its weights were trained; what of them is as in `settings` is not repeated.
        trained: whether anything is learned; otherwise settings of training decide nothing.

    >>> recipe_of({"seed": 3, "episodes.shot": 5, "training.episodes": 9}, {"seed": 3, "episodes.shot": 1}, True)
    {'episodes.shot': 5, 'trained.episodes.shot': 1}
    """
    # How its trainer was set now says nothing of weights that were trained before.
    found = {key: value for key, value in settings.items() if _decides(key, value) and not key.startswith("training.")}
    for key, value in trained_with.items() if trained else ():
        section, _, name = key.partition(".")
        learns = section in _TRAINING or key == "data.name" or not (name or key == "preset")  # such as adopted_from
        if learns and _decides(key, value) and found.get(key) != value:
            found[key if section == "training" else f"trained.{key}"] = value
    return found


def _decides(key: str, value: Any) -> bool:
    section, _, name = key.partition(".")
    young = flatten(LEFT_ALONE)  # some are sections of their own
    neutral = key in young and young[key] == value
    idle = section in ("seed", "compute", "prepare") or name in CHANGES_NO_NUMBER.get(section, ())
    return not (neutral or idle or (section == "evaluation" and name not in ("precision", "views")))


def asked_of(episodes: Episodes, catalog: Catalog) -> Asked:
    """What was asked, with a hash that two draws share only if all their videos are the same, in the same places."""
    videos = catalog.table["video"].to_numpy(str)
    digest = hashlib.sha256(str(episodes.seed).encode())
    for rows in (episodes.support, episodes.query):
        names, at = np.unique(rows, return_inverse=True)
        digest.update(json.dumps([rows.shape, videos[names].tolist()]).encode())
        digest.update(np.ascontiguousarray(at, np.int64).tobytes())
    way, queries = episodes.query.shape[1:]
    return Asked(len(episodes.query), way, queries, episodes.seed, digest.hexdigest()[:12])


def save_answers_file(
    path: Path,
    outcomes: Mapping[str, Mapping[str, Outcome]],
    catalog: Catalog,
    methods: Mapping[str, Answerer],
    facts: Mapping[str, Any],
) -> None:
    """Write all answers, atomically: the same to the byte for the same answers.

    Args:
        outcomes: method -> episode type -> what it found, all on the same episodes.
        catalog: the split, whose rows the episodes name.
        facts: the fields of `Answers` that are neither here nor in the rows: split, data, way, shot, intervals.
    """
    by_type = next(iter(outcomes.values()))
    asked = {name: asked_of(outcome.episodes, catalog)._asdict() for name, outcome in by_type.items()}
    answering = {name: one._asdict() for name, one in methods.items()}
    metadata = {_METADATA: json.dumps({**facts, "asked": asked, "methods": answering}).encode()}
    parts = [
        _rows(method, outcome, catalog) for method, found in outcomes.items() for outcome in found.values()
    ]  # a few MB each: 10,000 episodes are 50,000 rows
    whole = pa.concat_tables(parts).unify_dictionaries().replace_schema_metadata(metadata)
    with atomic_path(path) as temporary:
        pq.write_table(whole, temporary, compression="zstd")


def _rows(method: str, outcome: Outcome, catalog: Catalog) -> pa.Table:
    episodes = outcome.episodes
    num_episodes, way, queries = episodes.query.shape
    size, rows = episodes.query.size, episodes.query.reshape(-1)
    answered = np.take_along_axis(episodes.support[:, :, 0], outcome.predicted.reshape(num_episodes, -1), 1)
    columns = {name: catalog.table[name].to_numpy(str) for name in ("video", "class_name", "group")}
    values = {
        "method": np.full(size, method),
        "episode_type": np.full(size, episodes.name),
        "episode": np.repeat(np.arange(num_episodes), way * queries),
        "query": np.tile(np.arange(way * queries), num_episodes),
        "video": columns["video"][rows],
        "true_class": columns["class_name"][rows],
        "answered": columns["class_name"][answered.reshape(-1)],
        "correct": outcome.correct.reshape(-1),
        "group": columns["group"][rows],
    }
    made = {name: pa.array(values[name]) for name in _SCHEMA.names}
    coded = [
        made[field.name].cast(field.type) if field.type != _NAMES else _coded(made[field.name]) for field in _SCHEMA
    ]
    return pa.Table.from_arrays(coded, schema=_SCHEMA)


def _coded(names: pa.Array) -> pa.DictionaryArray:
    return names.cast(pa.string()).dictionary_encode()


def load_answers(path: Path) -> Answers:
    """Read a file of answers.

    Raises:
        RunError: it cannot be read, or its rows are not those that its metadata tells of.
    """
    try:
        table = pq.read_table(path)
        facts = json.loads((table.schema.metadata or {})[_METADATA])
        asked = {name: Asked(**one) for name, one in facts.pop("asked").items()}
        made = {name: {**one, "inputs": tuple(one["inputs"])} for name, one in facts.pop("methods").items()}
        methods = {name: Answerer(**one) for name, one in made.items()}
        correct, units = _arrays(table, asked, methods)
        return Answers(**facts, asked=asked, methods=methods, correct=correct, units=units)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        got = f"{path}, which cannot be read ({' '.join(str(error).split())[:120]})"
        raise RunError("a whole file of answers of this version", got, "Evaluate the run again.") from error


def _arrays(
    table: pa.Table, asked: Mapping[str, Asked], methods: Mapping[str, Answerer]
) -> tuple[dict[tuple[str, str], np.ndarray], dict[str, np.ndarray]]:
    """Right or wrong by method and episode type, and the queries' units by episode type."""
    frame = table.select(["method", "episode_type", "true_class", "group", "correct"]).to_pandas()
    correct, units = {}, {}
    for (method, episode_type), rows in frame.groupby(["method", "episode_type"], observed=True, sort=False):
        one = asked[episode_type]
        shape = (one.episodes, one.way, one.queries)
        correct[method, episode_type] = rows["correct"].to_numpy(bool).reshape(shape)
        if episode_type not in units:
            group, name = rows["group"].to_numpy(str), rows["true_class"].to_numpy(str)
            units[episode_type] = np.where(group != "", group, name).reshape(shape)
    missing = [f"{method}, {kind}" for method in methods for kind in asked if (method, kind) not in correct]
    if missing:
        raise ValueError(f"no answers of {missing[0]}")
    return correct, units
