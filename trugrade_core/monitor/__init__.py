"""Watching a run: what is written while it goes (`tracking`), what it uses (`resources`), where it came from
(`experiments`), and TensorBoard over it (`tensorboard`)."""
