"""Words and tools.  Imports nothing of ours."""
