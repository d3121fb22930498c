"""Tables that the tests of the fields share."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest


@pytest.fixture(scope="session")
def mixed():
    """Four hundred rows with a column of every kind and shape of number; some values are missing."""
    rng = np.random.default_rng(7)
    n = 400
    frame = pd.DataFrame(
        {
            "normal": rng.normal(10.0, 3.0, n),
            "skewed": np.exp(rng.normal(size=n) * 2),
            "whole": rng.integers(-50, 50, n),
            "knots": rng.poisson(8, n) * 1.15078,
            "rain": np.where(rng.random(n) < 0.6, 0.0, rng.gamma(2.0, 5.0, n)),
            "visits": rng.poisson(2.0, n),
            "origin": rng.choice(["EWR", "JFK", "LGA"], n),
            "delayed": rng.random(n) < 0.3,
            "flag": rng.integers(0, 2, n),
        }
    )
    frame.loc[::9, ["normal", "knots"]] = np.nan
    frame.loc[::11, "origin"] = None
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=3 * n).astype(np.float32)), 3)
    return table.append_column("vector", vectors)
