"""`tmal synthesise`: make the diagnostic data set, once."""

from __future__ import annotations

from tmal_core.config import DataSettings, Settings, in_project
from tmal_core.data.diagnostic.generation import generate, planned
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import SettingsError

DIAGNOSTIC = "diagnostic"
"""`data.name` of the data set that is generated."""


def synthesise(settings: Settings, progress: bool = True) -> Catalog:
    """The catalogue of the diagnostic data set; its files are made where they are missing.

    Raises:
        SettingsError: the settings are those of another data set, whose folder is not to be filled with drawn videos.
        DataError: the folder holds something else.
    """
    data = settings.data
    if data.name != DIAGNOSTIC:
        remedy = "Its videos are yours to bring: `tmal prepare`. Only the diagnostic data set is drawn."
        raise SettingsError(f"settings of the data set '{DIAGNOSTIC}'", f"those of '{data.name}'", remedy)
    workers = max(1, settings.compute.num_threads)
    return generate(in_project(data.root), data.seed, _clips(data), num_workers=workers, progress=progress)


def planned_data(settings: Settings) -> Catalog:
    """That catalogue without checksums, before any file is made."""
    return planned(in_project(settings.data.root), _clips(settings.data))


def _clips(data: DataSettings) -> dict[str, int]:
    """Clips per class by split."""
    return {"train": data.clips_train, "val": data.clips_val, "test": data.clips_test}
