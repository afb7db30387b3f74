"""How generated sources begin: what of this package they import, and so depend on (`dependencies`)."""

PREAMBLE = """\
import math
from sciml.native.activations import *
from sciml.native.compilation import at, device
from sciml.native.packs import load, store
from sciml.native.routines import prepare, value, vjp, weights
from sciml.native.vectors import add_rows, multiply, update
"""

PACK_PREAMBLE = """\
import math
from sciml.native.activations import *
from sciml.native.compilation import at, device
from sciml.native.pack_vectors import add_packs, multiply_packs, update_by_packs
from sciml.native.packs import load, maximum, minimum, power, select, store
from sciml.native.routines import pack_value, pack_vjp, pack_weights
"""
