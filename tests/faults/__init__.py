"""The fault campaign: real processes, real sockets, and everything that can happen to them.  See docs/faults.md."""
