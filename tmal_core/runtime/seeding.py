"""Random streams: one seed, any number of independent generators named by a path.

Each is the same on every machine and in every worker, whatever was drawn before it.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

import numpy as np
import torch


def _entropy(seed: int, path: tuple[int | str, ...]) -> np.random.SeedSequence:
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else int(part) for part in path]
    return np.random.SeedSequence([int(seed), *words])


def generator(seed: int, *path: int | str) -> np.random.Generator:
    """A numpy generator that depends on `seed` and `path` alone.

    >>> [int(generator(0, "episodes", i).integers(1000)) for i in (0, 1, 0)]
    [165, 573, 165]
    """
    return np.random.Generator(np.random.PCG64(_entropy(seed, path)))


def scrambled(words: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014): neighbouring uint64 become unrelated ones."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


class Streams:
    """Random whole numbers from many streams at once: stream i depends on `seed`, `path` and its number alone.

    A generator takes longer to set up than an episode to draw. E streams, m numbers of each at a time.

    >>> Streams([7, 3], 0, "episodes").below(np.array([[1000], [1000]])).tolist()
    [[539], [123]]
    >>> Streams([3], 0, "episodes").below(np.array([[1000]])).tolist()
    [[123]]
    """

    def __init__(self, numbers: Sequence[int] | np.ndarray, seed: int, *path: int | str) -> None:
        (key,) = _entropy(seed, path).generate_state(1, np.uint64)
        self._keys = scrambled(key + np.asarray(numbers, np.uint64))[:, None]
        self._drawn = 0

    def below(self, limits: np.ndarray) -> np.ndarray:
        """(E, m) int64, each uniform in 0..limit - 1 for limits (E, m)."""
        counters = np.arange(self._drawn, self._drawn + limits.shape[1], dtype=np.uint64)
        self._drawn += limits.shape[1]
        return (scrambled(self._keys + counters) % limits.astype(np.uint64)).astype(np.int64)

    def distinct(self, sizes: np.ndarray, count: int) -> np.ndarray:
        """(E, m, count): of each of (E, m) sizes the first `count` numbers of a random order of 0..size - 1."""
        found = np.empty((*sizes.shape, count), np.int64)
        for place in range(count):
            drawn = self.below(sizes - place)
            # The drawn-th of those that are left.
            for taken in np.moveaxis(np.sort(found[..., :place]), -1, 0):
                drawn += drawn >= taken
            found[..., place] = drawn
        return found


def seed_everything(seed: int, *path: int | str) -> None:
    """Seed the global generators of Python, numpy and torch: weights that libraries initialise, dropout."""
    word = int(_entropy(seed, path).generate_state(1)[0]) if path else seed
    random.seed(word)
    np.random.seed(word % 2**32)  # noqa: NPY002 - libraries still draw from the global state
    torch.manual_seed(word)
