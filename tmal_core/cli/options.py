"""What the commands share: their options, and what these say as settings and experiments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from tmal_core.errors import SettingsError

if TYPE_CHECKING:
    from tmal_core.config import Settings
    from tmal_core.experiment import Experiment

METHODS = "zero_shot, protonet, otam, frozen, clip_fsar, st_adapter_mean, st_adapter, trx, ts_fsar, tmal"
"""For help, which is not to wait for torch; a test holds it against the methods that there are."""


def opt(help_: str, of: str | None = None, *names: str, **more: Any) -> Any:
    """An option: its help, what its value is called there, and its names where they are not its parameter's."""
    return Option(*names, help=help_, metavar=of, **more)


def many(help_: str, of: str, *names: str, **more: Any) -> Any:
    return opt(f"{help_}; may be given again", of, *names, **more)


def flag(name: str, help_: str) -> Any:
    return opt(help_, None, name)  # named, or there would be a --no-... too


def preset_option(default: str) -> Any:
    return opt(f"a preset's name or a YAML file (default: {default})", None, "--preset", show_default=False)


NONE: list[str] = []

Preset = Annotated[str, preset_option("tiny")]
Sets = Annotated[list[str], many("change one setting, as in training.episodes=500", "KEY=VALUE", "--set")]
Out = Annotated[Path, opt("run folder")]
Method = Annotated[str | None, opt(f"one of {METHODS}", "NAME", show_default=False)]


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """What `--set` and its like give; values are read as YAML, the last of a key wins.

    >>> parse_overrides(["training.episodes=500", "model.text=false", "data.root=my/clips"])
    {'training.episodes': 500, 'model.text': False, 'data.root': 'my/clips'}
    """
    import yaml

    overrides = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not (sign and key.strip()):
            raise SettingsError("key=value", repr(pair), "Write for example --set training.episodes=500.")
        try:
            overrides[key.strip()] = yaml.safe_load(text)
        except (ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: a date that is none
            raise SettingsError("a YAML value", repr(pair), "Put quotes around the value.") from error
    return overrides


def settings_of(preset: str, sets: Sequence[str], data: Path | None = None) -> Settings:
    """What preset and --set say, with the data in another folder."""
    from tmal_core.config import load_settings

    return load_settings(preset, _overrides(sets, data))


def experiment_of(
    preset: str, sets: Sequence[str], out: Path | None = None, method: str | None = None, data: Path | None = None
) -> Experiment:
    settings_of(preset, sets, data)  # a wrong setting is told before anything heavy is loaded
    from tmal_core.experiment import Experiment

    return Experiment.of(preset, _overrides(sets, data), method, out and out.resolve())


def _overrides(sets: Sequence[str], data: Path | None) -> dict[str, Any]:
    return parse_overrides(sets) | ({"data.root": str(data.resolve())} if data else {})
