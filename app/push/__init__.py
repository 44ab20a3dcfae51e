"""Out to the vendors: leased, coalesced, batched, only what differs."""
