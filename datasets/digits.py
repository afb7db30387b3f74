"""Handwritten digits, 8 by 8 pixels with 17 levels of gray."""

import numpy as np
import pandas as pd

from sciml.errors import ModelError


def digits() -> pd.DataFrame:
    """1,797 handwritten digits: columns `pixel_0` to `pixel_63` (levels 0 to 16, by rows of the image) and `label`.

    The test part of the Optical Recognition of Handwritten Digits data set (Alpaydin and Kaynak, UCI repository, CC BY
    4.0) in the copy that scikit-learn ships, so nothing is fetched.

    Raises:
        ModelError: scikit-learn is not installed.

    Example:
        >>> digits().shape
        (1797, 65)

    Reference:
        Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ModelError('the digits come with scikit-learn: `pip install "sciml-hybrid[digits]"`.') from error
    found = load_digits()
    table = pd.DataFrame(found.data.astype(np.int64), columns=[f"pixel_{i}" for i in range(64)])
    return table.assign(label=found.target)
