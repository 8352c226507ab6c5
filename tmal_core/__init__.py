"""TMAL: time-enhanced multimodal adaptation learning for few-shot action recognition.

Importing the package loads nothing heavy; import the part that is needed.
"""

__version__ = "0.1.0"
