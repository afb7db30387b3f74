"""The methods, one a file: coefficients and what to know of each."""
