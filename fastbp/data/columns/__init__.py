"""What each column of a table becomes, and how it is said to a network."""
