"""Which classes of two data sets are the same, or alike, by their names: what was trained on is not unseen.

Two names are the `same` where they are equal once case, camel case, underscores, punctuation and articles do not count
("ApplyEyeMakeup" is "apply eye makeup"). They are `similar` where the words of one are all among the other's, whatever
their endings and order ("Biking" and "ride_bike"; "pullup" and "Pull Ups"), or where a list made by hand says so
(`tmal_core.data.sets.known_likeness`): no string shows that "shoot_bow" is "Archery". What a template has in brackets
("[something soft]") is an object and no word of an action; prepositions stay, since Something-Something tells its
classes apart by them.

Nothing here has seen a video. `similar` is wide on purpose: it rather names a class too many than one too few.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

from tmal_core.data.sets.known_likeness import ALIKE, UNLIKE

Kind = Literal["same", "similar"]
KINDS: tuple[Kind, ...] = get_args(Kind)

ARTICLES = frozenset({"a", "an", "the"})
FILLERS = ARTICLES | {"and", "or", "of", "something", "someone", "somewhere"}
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_VOWEL = re.compile("[aeiouy]")


class Pair(NamedTuple):
    """A class that was trained on and one that is tested."""

    trained: str
    tested: str
    kind: Kind
    found_by: Literal["name", "words", "list"]


def overlapping(trained: Iterable[str], tested: Iterable[str]) -> list[Pair]:
    """Every pair of names that are the same or similar, in the order of the tested ones; same ones first.

    >>> for pair in overlapping(["shoot_bow", "ride_bike", "Yo-Yo"], ["Biking", "YoYo", "Archery", "Kayaking"]):
    ...     print(*pair, sep=", ")
    Yo-Yo, YoYo, same, name
    ride_bike, Biking, similar, words
    shoot_bow, Archery, similar, list
    """
    known = list(dict.fromkeys(trained))
    found = [pair for name in dict.fromkeys(tested) for other in known if (pair := _pair(other, name))]
    return sorted(found, key=lambda pair: pair.kind != "same")


def spelling(name: str) -> str:
    """What is left of a name to compare: "same" names have one spelling.

    >>> [spelling(name) for name in ("ApplyEyeMakeup", "apply_eye-makeup", "Poking a hole into [something soft]")]
    ['applyeyemakeup', 'applyeyemakeup', 'pokingholeintosomethingsoft']
    """
    return "".join(word for word in _words(name) if word not in ARTICLES)


def stems(name: str) -> tuple[str, ...]:
    """The words of a name that say what is done, without their endings.

    >>> stems("riding a bike"), stems("Biking"), stems("Lifting [something] with [something] on it")
    (('rid', 'bik'), ('bik',), ('lift', 'with', 'on', 'it'))
    """
    without_objects = re.sub(r"\[[^]]*\]", " ", name)
    return tuple(_stem(word) for word in _words(without_objects) if word not in FILLERS)


def _pair(trained: str, tested: str) -> Pair | None:
    one, other = spelling(trained), spelling(tested)
    if one == other:
        return Pair(trained, tested, "same", "name") if one else None
    if frozenset((one, other)) in _listed(UNLIKE):
        return None
    if frozenset((one, other)) in _listed(ALIKE):
        return Pair(trained, tested, "similar", "list")
    return Pair(trained, tested, "similar", "words") if _alike(stems(trained), stems(tested)) else None


def _alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether the words of one are all among the other's, or both are equal when written together."""
    if not one or not other:
        return False
    return set(one) <= set(other) or set(other) <= set(one) or "".join(one) == "".join(other)


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", _HUMP.sub(" ", name.replace("'", "")).casefold())


def _stem(word: str) -> str:
    """Without -ing, a plural's -s and what these change: "diving" and "dive", "drums" and "drumming" become one.

    Endings are only taken off where a vowel is left, so that "swing" and "ring" stay. Not meant to be read.
    """
    for ending in ("ing", "s"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) > 1 and _VOWEL.search(rest) and not (ending == "s" and rest.endswith("s")):
            word = rest
            break
    if len(word) > 2:
        word = word.removesuffix("e")
    if len(word) > 2 and word[-1] == word[-2]:
        word = word[:-1]
    return f"{word[:-1]}i" if len(word) > 1 and word.endswith("y") else word


@lru_cache
def _listed(groups: tuple[tuple[str, ...], ...]) -> frozenset[frozenset[str]]:
    """All pairs of spellings within the groups."""
    return frozenset(frozenset((spelling(a), spelling(b))) for group in groups for a in group for b in group)
