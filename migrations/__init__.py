"""The schema's history, applied by ``tandem migrate`` and at every start."""
