"""Standard normal numbers for compiled loops: the ziggurat method on the generator SFC64, both inlined.

NumPy's generators cost a call through a pointer for every number: 6.5 ns instead of
2.9, where the rest of a step of two states takes 6.5, or 2 in packs.
"""

import math

import numpy as np

from sciml.native.compilation import kernel

LAYERS = 256
END = 3.6541528853610088  # where the tail begins, so that all layers have the same area
AREA = 0.00492867323399
UNIT = 2.0**-52


def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right edges of the layers in units of a 52-bit number, which numbers lie inside at once, and heights."""
    edges, heights = np.empty(LAYERS + 1), np.empty(LAYERS + 1)
    edges[0], heights[0] = AREA * math.exp(END**2 / 2), 0.0  # the lowest layer with the tail, as wide as its area says
    edges[1], heights[1] = END, math.exp(-(END**2) / 2)
    for k in range(2, LAYERS):
        heights[k] = heights[k - 1] + AREA / edges[k - 1]
        edges[k] = math.sqrt(-2 * math.log(heights[k]))
    edges[LAYERS], heights[LAYERS] = 0.0, 1.0
    inside = np.floor(edges[1:] / edges[:-1] / UNIT).astype(np.uint64)
    return edges[:-1] * UNIT, inside, heights


TABLES = _tables()


def seeded(seed: int) -> np.ndarray:
    """The generator's four numbers: NumPy's SFC64 of this seed, so that seeds are as good as its own."""
    return np.random.SFC64(seed).state["state"]["state"].copy()


@kernel
def fill_normals(state, widths, inside, heights, z):
    """Fill `z`, and move the state on.

    Reference:
        Marsaglia, Tsang (2000), J. Stat. Softw. 5(8); Doornik (2005), An improved ziggurat method.
    """
    a, b, c, n = state[0], state[1], state[2], state[3]
    one = np.uint64(1)
    i = 0
    while i < z.size:
        r = a + b + n  # SFC64
        n += one
        a = b ^ (b >> np.uint64(11))
        b = c + (c << np.uint64(3))
        c = ((c << np.uint64(24)) | (c >> np.uint64(40))) + r
        layer = r & np.uint64(255)
        u = r >> np.uint64(12)
        x = u * widths[layer]
        sign = 1.0 - 2.0 * ((r >> np.uint64(8)) & one)
        if u >= inside[layer]:
            # One in a hundred: the layer's edge, or the tail.
            state[0], state[1], state[2], state[3] = a, b, c, n
            x = _beyond(state, heights, layer, x)
            a, b, c, n = state[0], state[1], state[2], state[3]
            if x < 0:
                continue
        z[i] = sign * x
        i += 1
    state[0], state[1], state[2], state[3] = a, b, c, n


@kernel
def _uniform(state):
    """A number above 0 and below 1."""
    a, b, c, n = state[0], state[1], state[2], state[3]
    r = a + b + n
    state[3] = n + np.uint64(1)
    state[0] = b ^ (b >> np.uint64(11))
    state[1] = c + (c << np.uint64(3))
    state[2] = ((c << np.uint64(24)) | (c >> np.uint64(40))) + r
    return ((r >> np.uint64(12)) + 0.5) * UNIT


@kernel
def _beyond(state, heights, layer, x):
    """The number, or -1 where another try is needed."""
    if layer == 0:
        while True:  # Marsaglia's tail
            x = -math.log(_uniform(state)) / END
            if -2 * math.log(_uniform(state)) > x * x:
                return END + x
    low, high = heights[layer], heights[layer + np.uint64(1)]
    if low + _uniform(state) * (high - low) < math.exp(-0.5 * x * x):
        return x
    return -1.0
