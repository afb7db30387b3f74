"""How far a fit can be trusted: its gradient, what its networks have seen, what they can imitate."""
