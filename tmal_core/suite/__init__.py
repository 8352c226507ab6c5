"""The notebooks run headless by papermill, checked and resumable, and the report of a run."""
