"""Episodic training: losses, the loop, checkpoints."""
