"""Recognition-aware (RA) image processing: train P so that recognizers R read its output better."""

__version__ = "0.1.0"
