"""Are two records one person?  In: canonical values.  Out: evidence, keys, a score with its reasons, a band.

``normalise`` → ``keys`` → ``score``, with ``weights`` (a file, or estimated by ``training``), ``clusters`` for batches,
``companies`` for organisations and ``evaluate`` to measure it all.  Pure: no store, no network, no clock.
"""
