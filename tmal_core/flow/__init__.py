"""Optical flow: estimators, the store of flow files, and extraction."""
