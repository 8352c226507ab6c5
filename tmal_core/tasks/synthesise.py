"""`tmal synthesise`: the diagnostic data set, made where it is missing."""

from __future__ import annotations

from tmal_core.config import DataSettings
from tmal_core.data.diagnostic.generation import generate
from tmal_core.data.sets.catalog import Catalog, load_catalog
from tmal_core.errors import SettingsError
from tmal_core.experiment import DIAGNOSTIC


def make_diagnostic(data: DataSettings, num_workers: int = 1, progress: bool = True) -> Catalog:
    """The catalogue of the diagnostic data set; its files are made where they are missing.

    Raises:
        SettingsError: the settings are those of another data set, whose folder is not to be filled with drawn videos.
        DataError: the folder holds something else.
    """
    if data.name != DIAGNOSTIC:
        remedy = "Its videos are yours to bring: `tmal prepare`. Only the diagnostic data set is drawn."
        raise SettingsError(f"settings of the data set '{DIAGNOSTIC}'", f"those of '{data.name}'", remedy)
    return generate(data.folder, data.seed, data.clips, max(1, num_workers), progress, data.families)


def data_set(data: DataSettings, num_workers: int = 1, progress: bool = True) -> Catalog:
    """The catalogue that the settings name: of the diagnostic data set, made where it is missing, or of a prepared one.

    Raises:
        DataError: it is not there; what to run is said.
    """
    if data.name == DIAGNOSTIC:
        return make_diagnostic(data, num_workers, progress)
    return load_catalog(data.folder)
