"""From nothing to in step, with everything in processes of its own that are killed on the way."""

from __future__ import annotations

import pytest

from bench.backfill import bench


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_first_run_ends_in_step() -> None:
    """Plan, canary and apply write what was planned and nothing else, and leave nothing; consent is raised nowhere."""
    found = bench(300)
    assert found["wrong"] == []
    assert found["applied"] == found["of"] > 0
    assert found["most_memory_mb"] <= 300
