"""Flow extraction in shards on a Slurm cluster, by submitit; "local" runs the shards as processes of this machine.

Each job is one shard that goes on where it stopped: a job that is preempted or runs into its time limit is queued again
as it is. Nothing is shared but the file system.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from tmal_core.errors import RunError, SettingsError
from tmal_core.flow.estimator import build_estimator
from tmal_core.flow.extraction import extract
from tmal_core.flow.extraction_report import ExtractReport, join_reports, shard_path, write_report
from tmal_core.flow.store import FlowStore
from tmal_core.runtime.progress_bar import tqdm


class _Shard:
    """What a job runs; submitit calls `checkpoint` when Slurm takes the machine away."""

    def __init__(self, arguments: dict[str, Any], rank: int, world_size: int) -> None:
        self.arguments, self.rank, self.world_size = arguments, rank, world_size

    def __call__(self) -> ExtractReport:
        return extract(**self.arguments, rank=self.rank, world_size=self.world_size)

    def checkpoint(self) -> Any:
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def extract_on_cluster(
    catalog_table: pd.DataFrame,
    root: str | Path,
    store: FlowStore,
    estimator_name: str = "dis",
    *,
    cluster: str,
    num_shards: int,
    log_dir: str | Path,
    parameters: dict[str, Any] | None = None,
    progress: bool = True,
    **options: Any,
) -> ExtractReport:
    """`extract` in several jobs; waits for all of them.

    Args:
        cluster: "slurm", or "local" for processes of this machine.
        num_shards: jobs; a Slurm job array.
        log_dir: where submitit keeps what the jobs print; seen by all machines, as root and store are.
        parameters: submitit's, such as {"timeout_min": 600, "slurm_partition": "gpu", "gpus_per_node": 1}.
        options: further arguments of `extract`.

    Returns:
        One report over all shards, in the order of the table, written to the store's `flow_report.csv`.

    Raises:
        SettingsError: submitit is not installed, or the number of shards or the estimator is wrong.
        RunError: a job failed; what is done stays done.
    """
    try:
        import submitit
    except ImportError:
        remedy = "Install it: pip install submitit."
        raise SettingsError("submitit, which --cluster needs", "an environment without it", remedy) from None
    if num_shards < 1:
        raise SettingsError("at least 1 shard", str(num_shards), "Give the number of jobs.")
    # Wrong names and missing weights come to light here, not in the log of a job an hour later.
    build_estimator(estimator_name, options.get("weights_dir"))
    arguments = {"catalog_table": catalog_table, "root": Path(root).resolve(), "store": store, **options}
    arguments["estimator_name"] = estimator_name
    executor = submitit.AutoExecutor(folder=log_dir, cluster=cluster)
    needed = {"timeout_min": 24 * 60, "cpus_per_task": 1 + options.get("num_workers", 0), "name": "tmal-flow"}
    executor.update_parameters(**needed | (parameters or {}))
    with executor.batch():
        jobs = [executor.submit(_Shard(arguments, rank, num_shards)) for rank in range(num_shards)]
    reports = []
    for rank, job in enumerate(tqdm(jobs, desc="flow", unit="job", disable=not progress)):
        try:
            reports.append(job.result())
        except (submitit.core.utils.FailedJobError, submitit.core.utils.UncompletedJobError) as error:
            reason = str(error).strip().splitlines()[-1]
            remedy = f"See {job.paths.stderr}, then run the same command again: it goes on where it stopped."
            raise RunError(f"shard {rank} of {num_shards} to finish", reason, remedy) from error
    outcomes = [reports[row % num_shards].outcomes[row // num_shards] for row in range(len(catalog_table))]
    report = ExtractReport(outcomes, shard_path(store.root, 0, 1))
    write_report(report)
    join_reports(store.root, 1)
    return report
