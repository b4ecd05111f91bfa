"""Networks: layers, chains of them, their losses and parameters."""
