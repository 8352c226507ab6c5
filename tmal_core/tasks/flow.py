"""`tmal flow`: optical flow for every video of the data set, where it is missing."""

from __future__ import annotations

from typing import Any

import torch

from tmal_core.experiment import Experiment
from tmal_core.flow.cluster import extract_on_cluster
from tmal_core.flow.extraction import extract
from tmal_core.flow.extraction_report import ExtractReport


def extract_flow(
    experiment: Experiment,
    cluster: str | None = None,
    num_shards: int = 1,
    parameters: dict[str, Any] | None = None,
    progress: bool = True,
) -> ExtractReport:
    """Flow by `flow.estimator` at the grid of `sampling.grid`, in the store beside the videos.

    Args:
        cluster: "slurm" or "local" for jobs by submitit, else this process, or its shard where torchrun started it.
        num_shards: jobs on the cluster.
        parameters: submitit's, see `extract_on_cluster`.

    Raises:
        DataError: there is no catalogue.
        SettingsError, WeightsError: the estimator cannot be had.
        RunError: the disk is full, or a worker or job failed.
    """
    # Jobs run on other machines: the one that queues them need not have their GPU.
    settings, catalog, store = experiment.settings, experiment.catalog, experiment.flow_store
    device = torch.device(settings.compute.device) if cluster == "slurm" else experiment.device
    # Torch has nothing to do meanwhile: its threads' cores are free for workers.
    num_workers = settings.compute.num_workers or settings.compute.num_threads
    how: dict[str, Any] = {"catalog_table": catalog.table, "root": catalog.root, "store": store, "progress": progress}
    how |= {"estimator_name": settings.flow.estimator, "grid": settings.sampling.grid}
    how |= {"num_workers": num_workers, "device": device, "decoder": settings.data.decoder}
    if cluster is None:
        return extract(**how)
    how |= {"num_shards": num_shards, "parameters": parameters, "log_dir": store.root / "jobs"}
    return extract_on_cluster(cluster=cluster, **how)
