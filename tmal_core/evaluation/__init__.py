"""Evaluation: features once per video, episodes as indices, intervals and paired tests."""
