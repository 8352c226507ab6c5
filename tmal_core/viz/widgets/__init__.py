"""Interactive views for JupyterLab. The only place that loads ipywidgets."""
