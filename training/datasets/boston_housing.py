"""Boston housing: 506 tracts, float32 [n, 13] → the median value of a house in thousands of dollars of the 1970s.

20 % held out. For comparison with older work only: the column B was made from the share of black residents, on the
assumption that segregation raises the price of houses, and Keras itself advises against the data set. Teach and
compare with california-housing. Source: D. Harrison, D. Rubinfeld, "Hedonic Housing Prices and the Demand for Clean
Air", Journal of Environmental Economics and Management 5, 1978.
"""

from __future__ import annotations

from training.datasets import keras_table
from training.datasets.dataset import Dataset
from training.datasets.description import Description

SHA256 = "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5"

DESCRIPTION = Description(
    name="boston-housing",
    kind="features",
    task="regression",
    summary="506 tracts of Boston, 1970s, 13 measures → median value in $1000 (discouraged: california-housing)",
    license="none stated; D. Harrison and D. Rubinfeld (StatLib)",
    source="keras.datasets.boston_housing",
    needs="a download of 60 kB",
)
COLUMNS = ("CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE", "DIS", "RAD", "TAX", "PTRATIO", "B", "LSTAT")


def load() -> Dataset:
    """Load the table from Keras's cache, or let Keras download it; raises `DatasetAbsent`, `DatasetAltered`."""
    return keras_table.load(DESCRIPTION, "boston_housing.npz", SHA256, columns=COLUMNS, download=_download)


def _download() -> None:
    import keras

    keras.datasets.boston_housing.load_data()
