"""Videos, catalogues, frame positions, transforms and episodes: everything before the first tensor of a model."""
