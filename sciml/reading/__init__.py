"""Systems from files of others: nothing in them is run."""
