"""What `benchmarks/interpreter.py` is made of.

approaches.py  ways to run a script: ours per tier, and what people do instead
station.py     the process that one approach lives in, and what it does when told
fleet.py       starts stations, talks to them, reads the CPU time of all their processes
rounds.py      the measurement: approaches take turns, in rotated order
results.py     what was measured, and what follows from it
tables.py, plots.py   how it is shown
"""
