"""The kind `instances`: objects with a box and, where the architecture has them, a mask."""
