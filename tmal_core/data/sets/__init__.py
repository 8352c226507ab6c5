"""Data sets: lists, class names, folders of one's own, and the catalogue that everything else reads."""
