"""From an event to a decision: fetch, mapping, matching, merging, and the chain that knows their order."""
