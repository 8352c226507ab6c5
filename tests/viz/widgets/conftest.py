"""Two methods of one run: OTAM, and a TMAL with random parts, as if it was trained."""

from __future__ import annotations

import pytest
import torch

from tmal_core.experiment import Experiment
from tmal_core.viz.widgets.inspector_state import InspectorState


@pytest.fixture(scope="session")
def methods(few_settings, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    found = {name: Experiment(few_settings, method_name=name, run_dir=run) for name in ("otam", "tmal")}
    model, generator = found["tmal"].build().eval(), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.tunable().values():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    found["tmal"].__dict__["model"] = model
    return found


@pytest.fixture
def state(methods):
    return InspectorState(methods, "val")
