"""A card in millimetres: its four corners in a scan, its plane, and the regions that tasks look at."""
