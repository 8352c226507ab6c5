"""How far apart two colours look, to whom, and how well text stands out.

Distances are Euclidean in CAM02-UCS (Luo, Cui and Li, Color Research and Application 31, 2006) on top of CIECAM02 (CIE
159:2004), for sRGB under its own viewing conditions: D65, a grey of 20 % around, 64 lx, average surround. Deficiencies
of colour vision are simulated on linear RGB (Machado, Oliveira and Fernandes, IEEE TVCG 15, 2009, severity 1.0). The
contrast of text is WCAG 2's.

Letters: n colours. Colours are hex strings or arrays (n, 3) of sRGB in 0..1.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from matplotlib.colors import to_rgb

VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
"""Linear RGB as it looks like to somebody, from linear RGB."""
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = 100 * _TO_XYZ.sum(1)
_CAT02 = np.array([[0.7328, 0.4296, -0.1624], [-0.7036, 1.6975, 0.0061], [0.0030, 0.0136, 0.9834]])
_HPE = np.array([[0.38971, 0.68898, -0.07868], [-0.22981, 1.18340, 0.04641], [0.0, 0.0, 1.0]])
_ADAPTING = 64 / np.pi / 5  # cd/m2
_BACKGROUND = 20.0  # its luminance, percent
_F, _C, _N = 1.0, 0.69, 1.0  # average surround


def linear(colours) -> np.ndarray:
    """(n, 3) linear RGB of sRGB."""
    rgb = np.array([to_rgb(colour) for colour in colours])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def ciecam02(
    xyz: np.ndarray, white: np.ndarray = _WHITE, adapting: float = _ADAPTING, background: float = _BACKGROUND
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lightness J, colourfulness M and hue h in degrees, (n,) each, of XYZ (n, 3) whose white has Y of about 100."""
    k = 1 / (5 * adapting + 1)
    f_l = 0.2 * k**4 * (5 * adapting) + 0.1 * (1 - k**4) ** 2 * (5 * adapting) ** (1 / 3)
    n = background / white[1]
    n_bb, z = 0.725 * n**-0.2, 1.48 + np.sqrt(n)
    degree = np.clip(_F * (1 - 1 / 3.6 * np.exp((-adapting - 42) / 92)), 0, 1)
    white_rgb = _CAT02 @ white

    def adapted(values: np.ndarray) -> np.ndarray:
        rgb = (degree * white[1] / white_rgb + 1 - degree) * (values @ _CAT02.T)
        cones = f_l * (rgb @ np.linalg.inv(_CAT02).T @ _HPE.T) / 100
        response = np.abs(cones) ** 0.42
        return np.sign(cones) * 400 * response / (response + 27.13) + 0.1

    def achromatic(response: np.ndarray) -> np.ndarray:
        return (response @ [2, 1, 1 / 20] - 0.305) * n_bb

    response = adapted(np.atleast_2d(xyz))
    a = response @ [1, -12 / 11, 1 / 11]
    b = response @ [1 / 9, 1 / 9, -2 / 9]
    hue = np.degrees(np.arctan2(b, a)) % 360
    eccentricity = (np.cos(np.radians(hue) + 2) + 3.8) / 4
    lightness = 100 * np.clip(achromatic(response) / achromatic(adapted(white[None])), 0, None) ** (_C * z)
    t = 50_000 / 13 * _N * n_bb * eccentricity * np.hypot(a, b) / (response @ [1, 1, 21 / 20])
    chroma = t**0.9 * np.sqrt(lightness / 100) * (1.64 - 0.29**n) ** 0.73
    return lightness, chroma * f_l**0.25, hue


def uniform(lightness: np.ndarray, colourfulness: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """J', a', b' (n, 3) of CAM02-UCS."""
    m = np.log1p(0.0228 * colourfulness) / 0.0228
    angle = np.radians(hue)
    return np.stack([1.7 * lightness / (1 + 0.007 * lightness), m * np.cos(angle), m * np.sin(angle)], -1)


def seen(colours, vision: str = "normal") -> np.ndarray:
    """(n, 3) in CAM02-UCS, as somebody sees them."""
    rgb = np.clip(linear(colours) @ VISION[vision].T, 0, 1)
    return uniform(*ciecam02(100 * rgb @ _TO_XYZ.T))


def closest(colours) -> tuple[float, tuple, str]:
    """The least distance of two of them, over all kinds of vision: how far, which two, and to whom."""
    colours = list(colours)
    found = []
    for vision in VISION:
        places = seen(colours, vision)
        found += [
            (float(np.linalg.norm(places[i] - places[j])), (colours[i], colours[j]), vision)
            for i, j in combinations(range(len(colours)), 2)
        ]
    return min(found, key=lambda one: one[0])


def contrast(colour, ground) -> float:
    """WCAG 2's ratio of luminances, 1 to 21."""
    bright, dark = sorted((linear([colour, ground]) @ [0.2126, 0.7152, 0.0722] + 0.05), reverse=True)
    return float(bright / dark)


def mixed(colour, ground, share: float) -> tuple[float, ...]:
    """A colour over a ground, as CSS's `color-mix(in srgb, ...)` and matplotlib's alpha put it together."""
    return tuple(share * np.array(to_rgb(colour)) + (1 - share) * np.array(to_rgb(ground)))
