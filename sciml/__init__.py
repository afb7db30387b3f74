"""Hybrid models of dynamical systems: SymPy equations, learned terms, closed-form laws."""
