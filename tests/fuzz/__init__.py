"""The whole API under requests that nobody would think of: ``python -m tests.fuzz``.  See docs/hardening.md."""
