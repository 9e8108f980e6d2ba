"""California housing: 20 640 blocks of houses in 1990, float32 [n, 8] → the median value of a house in dollars.

20 % held out. Values above 500 000 are cut to 500 001. The columns are those that Keras's file holds, which are not
the ones that its documentation lists. The file is known in two forms: as Keras distributes it, and saved anew with
the same arrays. Source: R. Pace, R. Barry, "Sparse Spatial Autoregressions", Statistics and Probability Letters 33,
1997 (StatLib; the census of 1990).
"""

from __future__ import annotations

from training.datasets import keras_table
from training.datasets.dataset import Dataset
from training.datasets.description import Description

SHA256 = "1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f"
SHA256_SAVED_ANEW = "d28099f314616ddc58d7860c71ea4ed88ab645ecd4c58db74a835433259c4e0b"

DESCRIPTION = Description(
    name="california-housing",
    kind="features",
    task="regression",
    summary="20 640 blocks of houses in California, 1990, 8 measures → median value in dollars, cut at 500 001",
    license="none stated; R. Pace and R. Barry (StatLib)",
    source="keras.datasets.california_housing",
    needs="a download of 1 MB",
)
COLUMNS = (
    "longitude",
    "latitude",
    "housing_median_age",
    "total_rooms",
    "total_bedrooms",
    "population",
    "households",
    "median_income",
)


def load() -> Dataset:
    """Load the table from Keras's cache, or let Keras download it; raises `DatasetAbsent`, `DatasetAltered`."""
    return keras_table.load(
        DESCRIPTION, "california_housing.npz", SHA256, SHA256_SAVED_ANEW, columns=COLUMNS, download=_download
    )


def _download() -> None:
    import keras

    keras.datasets.california_housing.load_data()
