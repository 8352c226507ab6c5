"""Video files: what is in them, which frames are read, and the pictures that models see."""

from tmal_core.data.video.decoding import probe, read_clip, read_frames

__all__ = ["probe", "read_clip", "read_frames"]
