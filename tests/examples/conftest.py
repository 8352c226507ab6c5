"""The pages are run by their test alone: imported for their examples, they would register what they show."""

collect_ignore = ["own_matcher.py", "own_method.py"]
