"""The diagnostic data set: small generated videos in families of classes (`data.families`).

Each family needs one ability, so a table of accuracies says which part of a method does its work:

- `appearance`: any single frame decides.
- `order`: three states follow one another in a circle or the other way round, from a random one of them; only who
  follows whom tells.
- `speed`: once round the same way, fast and slow in one order or the other.
- `camera`: an object goes round before the camera does, or after it; only the ground tells.
- `motion`: random dots; no sampled frames show anything, only the motion between neighbouring frames does.
- `semantic`: support clips stop before the classes part; only the class name tells them apart.

`vocabulary` names the classes, `drawing` paints pictures, `closed_paths` and `families` turn a class into frames,
`generation` writes the files and their catalogue, `stills` makes the captioned pictures that the tiny CLIP learns from.
"""
