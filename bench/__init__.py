"""Measurements.  Each prints JSON with the ratio to a baseline measured in the same run."""
