"""Side by side with what a user would pick instead: ``python -m bench.peers``; see docs/performance-peers.md."""
