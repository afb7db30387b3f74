"""Compiled engine for ODE fits on the CPU: loss and exact gradient in one native call, with NumPy and numba only."""
