"""Random streams: one seed, any number of independent generators named by a path.

Each is the same on every machine and in every worker, whatever was drawn before it.
"""

from __future__ import annotations

import random
import zlib

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


def seed_everything(seed: int, *path: int | str) -> None:
    """Seed the global generators of Python, numpy and torch: weights that libraries initialise, dropout."""
    word = int(_entropy(seed, path).generate_state(1)[0]) if path else seed
    random.seed(word)
    np.random.seed(word % 2**32)  # noqa: NPY002 - libraries still draw from the global state
    torch.manual_seed(word)
