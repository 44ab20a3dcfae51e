"""Tandem: the way of the data, room by room.

``entry`` takes deliveries in and stores them; ``sync`` reads the records back, translates them (mapping), finds whose
they are (matching), decides what survives (merging) and hands it to ``records``, the canonical store, which marks the
other links dirty; ``push`` writes the difference to the other vendors; ``repair`` finds what webhooks missed.
``ops`` lets operators look and act, ``console`` shows pages.  ``core`` holds words and tools and imports nothing of
ours.  ``main`` puts it all together.
"""
