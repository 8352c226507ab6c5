"""Episodic training: losses, optimiser and learning rate, the loop, checkpoints."""
