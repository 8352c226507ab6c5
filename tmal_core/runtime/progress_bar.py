"""tqdm's bar, which also tells the program above how far it is (`program_folder`)."""

from __future__ import annotations

import time
from typing import Any

from tqdm import auto

from tmal_core.runtime.program_folder import say_state

EVERY_S = 1.0


class tqdm(auto.tqdm):
    """As tqdm's own; a bar that is disabled tells nothing."""

    _said = 0.0

    def update(self, n: float | None = 1) -> bool | None:
        """See tqdm."""
        shown = super().update(n)
        now = time.monotonic()
        if not self.disable and now - self._said >= EVERY_S:
            self._said = now
            facts: dict[str, Any] = self.format_dict
            say_state(what=self.desc or "", done=facts["n"], total=facts["total"], per_s=facts["rate"])
        return shown
