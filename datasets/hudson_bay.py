"""Hare and lynx pelts of the Hudson's Bay Company."""

from importlib.resources import files

import pandas as pd


def hudson_bay() -> pd.DataFrame:
    """Pelts of snowshoe hare and Canada lynx collected by the Hudson's Bay Company, 1900 to 1920.

    Returns:
        Index `year`; columns `hare` and `lynx`, in thousands of pelts. No gaps.

    Example:
        >>> hudson_bay().head(3)
              hare  lynx
        year
        1900  30.0   4.0
        1901  47.2   6.1
        1902  70.2   9.8

    Reference:
        Hewitt (1921), The Conservation of the Wild Life of Canada; as tabulated by Howard (2009), Modeling Basics.
    """
    with files(__package__).joinpath("hudson_bay.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, index_col="year")
