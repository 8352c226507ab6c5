"""Clips whose optical flow is known exactly at every pixel: what flow estimators are measured against.

A scene is a texture and a motion that says where on the texture each pixel looks, at any time. A frame is the texture
looked up where the motion says, and the flow of a pixel is where the motion puts the same point of the texture one
frame later: no flow is estimated, interpolated or rounded anywhere. The texture is periodic noise, smooth on two
scales, bilinear between its samples. Only frames are rounded, to 8 bits.

Coordinates are (x, y) in pixels, y down, (0, 0) the centre of the first pixel. Letters: F frames, H, W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tmal_core.runtime.seeding import generator

HEIGHT, WIDTH, FRAMES = 128, 160, 6
_PERIOD = 256


@dataclass(frozen=True)
class KnownClip:
    """A clip and its true flow."""

    name: str
    motion: str  # in words
    frames: np.ndarray  # (F, H, W, 3) uint8
    flow_px: np.ndarray  # (F - 1, 2, H, W) float32, (dx, dy) in pixels from each frame to the next
    visible: np.ndarray  # (F - 1, H, W) bool: what the pixel shows is in sight in the next frame as well


class Motion(Protocol):
    """Points of a texture that move; a point is a pair of arrays (x, y)."""

    def to_texture(self, t: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where on the texture the pixel (x, y) of frame t looks."""

    def to_frame(self, t: int, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where in frame t the point (u, v) of the texture is seen."""


@dataclass(frozen=True)
class Steady:
    """The same turn, zoom and shift from each frame to the next, about the middle of the frame."""

    shift_px: tuple[float, float] = (0.0, 0.0)
    turn_deg: float = 0.0
    zoom: float = 1.0

    def _at(self, t: int) -> tuple[complex, complex]:
        """Factor and summand of frame t as complex numbers: z -> factor * z + summand about the middle."""
        step = self.zoom * np.exp(1j * np.deg2rad(self.turn_deg))
        return step**t, complex(*self.shift_px) * sum(step**k for k in range(t))

    def to_texture(self, t: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        factor, summand = self._at(t)
        z = (x + 1j * y - _MIDDLE - summand) / factor + _MIDDLE
        return z.real, z.imag

    def to_frame(self, t: int, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        factor, summand = self._at(t)
        z = (u + 1j * v - _MIDDLE) * factor + summand + _MIDDLE
        return z.real, z.imag


@dataclass(frozen=True)
class Waves:
    """A smooth warp without straight lines: rows slide along a wave that swings, then columns do."""

    amplitude_px: float = 4.0
    length_px: float = 70.0

    def _slide(self, t: int, across: np.ndarray, phase: float) -> np.ndarray:
        swing = self.amplitude_px * np.sin(0.5 * t + phase)
        return swing * np.sin(2 * np.pi * across / self.length_px + phase)

    def to_texture(self, t: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        v = y - self._slide(t, x, 1.0)
        return x - self._slide(t, v, 0.0), v

    def to_frame(self, t: int, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = u + self._slide(t, v, 0.0)
        return x, v + self._slide(t, x, 1.0)


_MIDDLE = complex((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
_DISC, _DISC_RADIUS = _MIDDLE - 12, 34.0  # on its own texture, where it stands still

SCENES: dict[str, tuple[str, Motion, Motion | None]] = {
    "shift": ("slow shift by (1.3, −0.7) px", Steady((1.3, -0.7)), None),
    "fast shift": ("fast shift by (11.6, 4.2) px", Steady((11.6, 4.2)), None),
    "turn": ("turn by 2°", Steady(turn_deg=2.0), None),
    "zoom": ("zoom by 3 %", Steady(zoom=1.03), None),
    "waves": ("smooth warp", Waves(), None),
    "two layers": ("a disc before a background that moves the other way", Steady((-1.8, 0.9)), Steady((2.6, 1.1))),
}
"""Name -> the motion in words, that of the background, and that of a disc before it."""


def known_clips(seed: int = 0, scenes: tuple[str, ...] = tuple(SCENES)) -> list[KnownClip]:
    """The scenes, each with a texture of its own that depends on the seed and its name alone."""
    return [_clip(name, *SCENES[name], seed) for name in scenes]


def _clip(name: str, words: str, back: Motion, disc: Motion | None, seed: int) -> KnownClip:
    textures = [_texture(generator(seed, "known flow", name, layer)) for layer in ("back", "disc")]
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    frames, flows, sights = [], [], []
    for t in range(FRAMES):
        covered = _covered(disc, t, x, y)
        layers = [(textures[0], back), (textures[1], disc or back)]
        shown = [_look_up(texture, *motion.to_texture(t, x, y)) for texture, motion in layers]
        picture = np.where(covered[..., None], shown[1], shown[0])
        frames.append(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
        if t == FRAMES - 1:
            break
        moved = [motion.to_frame(t + 1, *motion.to_texture(t, x, y)) for _, motion in layers]
        to_x, to_y = (np.where(covered, *pair) for pair in zip(moved[1], moved[0], strict=True))
        inside = (to_x >= 0) & (to_x <= WIDTH - 1) & (to_y >= 0) & (to_y <= HEIGHT - 1)
        # What the disc covers next is out of sight, unless it is the disc itself.
        sights.append(inside & (covered | ~_covered(disc, t + 1, to_x, to_y)))
        flows.append(np.stack([to_x - x, to_y - y]))
    return KnownClip(name, words, np.stack(frames), np.stack(flows).astype(np.float32), np.stack(sights))


def _covered(disc: Motion | None, t: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(H, W) bool: whether the disc is seen at (x, y) of frame t."""
    if disc is None:
        return np.zeros(x.shape, dtype=bool)
    u, v = disc.to_texture(t, x, y)
    return np.hypot(u - _DISC.real, v - _DISC.imag) < _DISC_RADIUS


def _texture(rng: np.random.Generator) -> np.ndarray:
    """(period, period, 3) values around 128: noise, smoothed on two scales so that it has edges and areas."""
    grey, colour = rng.normal(size=(_PERIOD, _PERIOD, 1)), rng.normal(size=(_PERIOD, _PERIOD, 3))
    noise = np.fft.fft2(grey + 0.4 * colour, axes=(0, 1))
    frequency = np.fft.fftfreq(_PERIOD)
    squared = frequency[:, None] ** 2 + frequency[None, :] ** 2
    kernels = (np.exp(-2 * (np.pi * sigma) ** 2 * squared)[..., None] for sigma in (1.5, 6.0))
    fine, coarse = (np.fft.ifft2(noise * kernel, axes=(0, 1)).real for kernel in kernels)
    smooth = fine / fine.std() + coarse / coarse.std()
    return 128 + 40 * smooth / smooth.std()


def _look_up(texture: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(H, W, 3): the texture at (u, v), bilinear, repeated in all directions."""
    left, top = np.floor(u).astype(int), np.floor(v).astype(int)
    right_share, lower_share = (u - left)[..., None], (v - top)[..., None]
    rows, columns = (top % _PERIOD, (top + 1) % _PERIOD), (left % _PERIOD, (left + 1) % _PERIOD)
    upper = texture[rows[0], columns[0]] * (1 - right_share) + texture[rows[0], columns[1]] * right_share
    lower = texture[rows[1], columns[0]] * (1 - right_share) + texture[rows[1], columns[1]] * right_share
    return upper * (1 - lower_share) + lower * lower_share
