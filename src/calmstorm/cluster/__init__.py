"""Curation on many machines through Ray: a driver on every node, and one writer (design: docs/cluster.md).

A driver has an interpreter of its own and talks to the Reasoner's servers and to the Intervener itself, so that neither
one event loop nor one machine's cores bound a curation. The process that the user started hands out samples and alone
writes to the run directory.
"""
