"""Laws leave the building: Systems as text in other languages."""

from sciml.export.latex import latex
from sciml.export.python import python

__all__ = ["latex", "python"]
