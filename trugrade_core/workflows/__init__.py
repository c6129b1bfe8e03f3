"""One function for each thing a person does; page, command line and Python call the same.

What takes long has a `start_…` that returns the folder of a detached job at once (`jobs.follow` shows its
progress); the rest returns plain data.
"""
