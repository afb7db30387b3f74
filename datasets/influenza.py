"""An outbreak of influenza in a boarding school."""

import pandas as pd

PUPILS = 763
IN_BED = (3, 8, 26, 76, 225, 298, 258, 233, 189, 128, 68, 29, 14, 4)


def influenza() -> pd.DataFrame:
    """Pupils confined to bed in a boarding school in the north of England, 22 January to 4 February 1978.

    There were 763 pupils, all boys; one brought the disease from his holidays.

    Returns:
        Index `day` from 0; column `infected`, the number in bed. No gaps.

    Example:
        >>> influenza().iloc[[0, 5, 13]]
             infected
        day
        0           3
        5         298
        13          4

    Reference:
        Anonymous (1978), Influenza in a boarding school, British Medical Journal, 4 March 1978, p. 587.
    """
    return pd.DataFrame({"infected": IN_BED}, index=pd.RangeIndex(len(IN_BED), name="day"))
