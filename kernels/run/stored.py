"""Sparse rows as kernels take them: addresses of what is stored (CSR). Plain Python, and kernels compile with it."""

# Entries of a table of stored rows. DATA: address of the stored numbers, of the model's element type. INDICES: of the
# column of each, int32, rising within a row from number to number. INDPTR: of int64, one more than there are rows: the
# numbers of row r are those from INDPTR[r] to before INDPTR[r + 1].
# ROWS and STEP: which rows the batch is. Its row i has the numbers from ROWS[i * STEP] to before ROWS[i * STEP + 1]:
# STEP is 1 for rows that follow each other in INDPTR, and 2 for pairs that a training step has written.
DATA, INDICES, INDPTR, ROWS, STEP, STORED_SIZE = range(6)
