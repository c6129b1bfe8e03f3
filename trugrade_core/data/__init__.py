"""Samples, labels, formats, splits and versions. Import from the module that owns the name."""
