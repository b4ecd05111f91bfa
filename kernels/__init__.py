"""The compiled kernels. See README.md in this folder for what each computes and who calls it."""
