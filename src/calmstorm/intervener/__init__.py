"""Interveners: who finds the first flaw of a trajectory, and how hints are worded (paper section 3.2)."""
