"""The diagnostic data set: small generated videos in four families of classes.

Each family needs one ability, so a table of accuracies says which part of a method does its work:

- `appearance`: any single frame decides.
- `order`: two classes show the same frames in opposite order; only their order in time decides.
- `motion`: random dots; no sampled frames show anything, only the motion between neighbouring frames does.
- `semantic`: support clips stop before the classes part; only the class name tells them apart.

`vocabulary` names the classes, `drawing` paints pictures, `families` turns a class into frames, `generate` writes
the files and their catalogue, `stills` makes the captioned pictures that the tiny CLIP learns from.
"""
