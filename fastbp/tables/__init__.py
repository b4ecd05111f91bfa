"""Networks of tables: which rows they are trained on, how they begin, what is kept to predict from other tables."""
