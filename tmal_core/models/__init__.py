"""The frozen backbone, what is learned on top of it, and the reference methods."""
