"""The measurements run: what they say in a hurry is worth nothing, and that they say something is."""

import pytest

from bench.__main__ import measure_all


@pytest.mark.soak
async def test_every_measurement_gives_figures() -> None:
    figures = await measure_all(quick=True)
    assert {"first start to ready", "accepted writes, 16 writers"} <= {figure.what for figure in figures}
    assert all(figure.measured for figure in figures)
    assert all(figure.ratio is None or figure.ratio > 0 for figure in figures)
