"""Files of weights, and the small CLIP that the project trains itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument

from tmal_core.cli.options import opt


def weights(context: typer.Context) -> None:
    """Weights files: what is there, what is missing, where it belongs."""
    if context.invoked_subcommand is None:
        list_all()


def list_all() -> None:
    """A table of all files, each held against its checksum."""
    from tmal_core.tasks.weights import list_weights

    print(list_weights())


def fetch(
    name: Annotated[str, Argument(help="from the list, or <model>:<weights> as open_clip calls them")],
    url: Annotated[str | None, opt("where from, in place of the official address")] = None,
) -> None:
    """Download one, check it, and move it into its place."""
    from tmal_core.tasks.weights import fetch_weights

    print(fetch_weights(name, url))


def record(name: Annotated[str, Argument(help="from the list")]) -> None:
    """Write down the checksum of a file whose publisher states none."""
    from tmal_core.tasks.weights import record_weights

    print(record_weights(name))


def pretrain_tiny(
    out: Annotated[Path, opt("folder")] = Path("runs/tiny_clip"),
    steps: Annotated[int | None, opt("training steps", min=1, show_default="the recipe's")] = None,
    seed: Annotated[int | None, opt("seed", show_default="the recipe's")] = None,
) -> None:
    """Train the small CLIP that the project ships."""
    from tmal_core.tasks.pretrain_tiny import Recipe, pretrain_tiny_clip

    given = {"steps": steps, "seed": seed}
    facts = pretrain_tiny_clip(out, Recipe(**{key: value for key, value in given.items() if value is not None}))
    print(f"{out}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))
