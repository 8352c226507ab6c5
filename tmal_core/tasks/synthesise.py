"""`tmal synthesise`: make the diagnostic data set, once."""

from __future__ import annotations

from tmal_core.config import Settings, in_project
from tmal_core.data.catalog import Catalog
from tmal_core.data.synthetic.generate import generate


def synthesise(settings: Settings, progress: bool = True) -> Catalog:
    """The catalogue of the diagnostic data set; its files are made where they are missing.

    Raises:
        DataError: the folder holds something else.
    """
    data = settings.data
    clips = {"train": data.clips_train, "val": data.clips_val, "test": data.clips_test}
    workers = max(1, settings.compute.num_threads)
    return generate(in_project(data.root), data.seed, clips, num_workers=workers, progress=progress)
