"""Steinebach's linearly implicit method of order 5(4), for stiff systems."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from sciml.errors import ModelError
from sciml.solvers.methods.protocol import AbstractSolver
from sciml.solvers.methods.tableau import Rosenbrock, stacked

_WEIGHTS = [
    -7.502846399306121,
    2.561846144803919,
    -11.627539656261098,
    -0.18268767659942256,
    0.030198172008377946,
    1.0,
    1.0,
    1.0,
]
_STAGES = stacked(
    [3.0],
    [2.849394379747939, 0.45842242204463923],
    [-6.954028509809101, 2.489845061869568, -10.358996098473584],
    [2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641],
    *(_WEIGHTS[:stages] for stages in (5, 6, 7, 8)),
)
_COUPLING = stacked(
    [-14.155112264123755],
    [-17.97296035885952, -2.859693295451294],
    [147.12150275711716, -1.41221402718213, 71.68940251302358],
    [165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306],
    [24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471],
    [
        30.91273214028599,
        -3.1208243349937974,
        77.79954646070892,
        34.28646028294783,
        -19.097331116725623,
        -28.087943162872662,
    ],
    [
        37.80277123390563,
        -3.2571969029072276,
        112.26918849496327,
        66.9347231244047,
        -40.06618937091002,
        -54.66780262877968,
        -9.48861652309627,
    ],
    [0.0],
)
# The dense output (1 - x) y0 + x (y1 + (1 - x) (u1 + x (u2 + x u3))), with the rows of u1, u2, u3.
_DENSE = [
    [
        25.948786856663858,
        -2.5579724845846235,
        10.433815404888879,
        -2.3679251022685204,
        0.524948541321073,
        1.1241088310450404,
        0.4272876194431874,
        -0.17202221070155493,
    ],
    [
        -9.91568850695171,
        -0.9689944594115154,
        3.0438037242978453,
        -24.495224566215796,
        20.176138334709044,
        15.98066361424651,
        -6.789040303419874,
        -6.710236069923372,
    ],
    [
        11.419903575922262,
        2.8879645146136994,
        72.92137995996029,
        80.12511834622643,
        -52.072871366152654,
        -59.78993625266729,
        -0.15582684282751913,
        4.883087185713722,
    ],
]


def _dense_weights() -> Float[np.ndarray, "stages 4"]:
    b, (u1, u2, u3) = np.array(_WEIGHTS), np.array(_DENSE)
    return np.vstack([np.stack([b + u1, u2 - u1, u3 - u2, -u3], axis=1), np.zeros(4)])


RODAS5P = Rosenbrock(
    order=5,
    a=_STAGES,
    # The state before the last stage is a solution of order 4.
    error=np.eye(9)[7],
    dense=_dense_weights(),
    dense_order=4,
    error_order=5,
    nodes=np.array(
        [0.0, 0.6358126895828704, 0.4095798393397535, 0.9769306725060716, 0.4288403609558664, 1.0, 1.0, 1.0, 1.0]
    ),
    coupling=_COUPLING,
    drift=np.array(
        [0.21193756319429014, -0.42387512638858027, -0.3384627126235924, 1.8046452872882734, 2.325825639765069]
        + 4 * [0.0]
    ),
    diagonal=0.21193756319429014,
)


@dataclass(frozen=True)
class Rodas5P(AbstractSolver):
    r"""Rodas5P, order 5 with an error estimate of order 4; eight linear systems with one matrix per step.

    For stiff systems at all but the tightest tolerances: no iteration that could fail, and stiffly accurate and L-stable
    like `Kvaerno5`, at about a third of its cost. It needs the exact Jacobian, so that it runs natively only; its gradient
    is exact, too. The dense output has order 4. Its steps are rational in the right-hand side: where a solution has a pole,
    as that of :math:`y' = y^2`, it may cross it and follow the continuation beyond; `Kvaerno5` stops there.

    Args:
        step: None: the error chooses the steps.

    Raises:
        ModelError: A `step` was given.

    Example:
        >>> Rodas5P().adaptive
        True

    Reference:
        Steinebach (2023), BIT Numerical Mathematics 63, 27.
    """

    tableau: ClassVar[Rosenbrock] = RODAS5P

    def __post_init__(self) -> None:
        if self.step is not None:
            raise ModelError(f"`step` of `Rodas5P` is {self.step}. Its steps are chosen by the error: `Rodas5P()`.")
