"""One file per provider; the file's name is the provider's name."""
