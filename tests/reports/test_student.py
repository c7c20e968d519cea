import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.reports.student import t_quantile

TABLE = {(0.975, 1): 12.706, (0.975, 2): 4.303, (0.975, 4): 2.776, (0.99, 7): 2.998, (0.995, 30): 2.750}


@pytest.mark.parametrize(("place", "value"), TABLE.items())
def test_quantiles_are_those_of_the_printed_table(place, value):
    assert t_quantile(*place) == pytest.approx(value, abs=6e-4)


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-4, 1 - 1e-4), st.floats(0.6, 1e5))
def test_quantiles_are_scipys(probability, freedom):
    stats = pytest.importorskip("scipy.stats")
    assert t_quantile(probability, freedom) == pytest.approx(
        stats.t.ppf(probability, freedom), rel=1e-6, abs=1e-7
    )
