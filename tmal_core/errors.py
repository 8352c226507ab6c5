"""What a user can do wrong.

Every error of this package says three things in one line: what was expected, what came, and what to do next.
The command line prints that line and exits with 1; anything else that escapes is a defect of ours.
"""

from __future__ import annotations


class TmalError(ValueError):
    """Base of all errors meant for the user.

    Args:
        expected: what was expected, as a noun phrase ("a folder of videos").
        got: what came instead.
        remedy: the next step, as a sentence.

    >>> raise DataError("a folder of videos", "clips.zip", "Unpack it first.")
    Traceback (most recent call last):
    tmal_core.errors.DataError: expected a folder of videos, got clips.zip. Unpack it first.
    """

    def __init__(self, expected: str, got: str, remedy: str) -> None:
        self.expected, self.got, self.remedy = expected, got, remedy
        super().__init__(f"expected {expected}, got {got}. {remedy}")

    @property
    def in_one_line(self) -> str:
        """The message for a page or a table, whatever breaks of lines came with a name or a path."""
        return " ".join(str(self).split())

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        # Workers send errors across processes: pickle must call the constructor with its three parts.
        return type(self), (self.expected, self.got, self.remedy)


class SettingsError(TmalError):
    """A preset, a setting or a command line option is wrong."""


class DataError(TmalError):
    """A video, a list or a catalogue is missing, broken or inconsistent."""


class EpisodeError(TmalError):
    """An episode was asked for that the split cannot give."""


class WeightsError(TmalError):
    """Weights are missing, damaged or of another architecture."""


class RunError(TmalError):
    """A run folder, a checkpoint or a suite cannot be used as asked."""
