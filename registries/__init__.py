"""Where services come from."""
