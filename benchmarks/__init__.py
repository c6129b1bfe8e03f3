"""What the lab costs beside what others cost: `make bench` prints it as one table.

Every figure stands beside another one of the same run, and the two sides of a ratio take turns, so that a busy machine
slows both. A bench is a function in a small file of its own, `bench(scratch, quick) -> list[Row]`; its docstring says
how it is measured. `--quick` shows that everything runs; its figures mean nothing.
"""
