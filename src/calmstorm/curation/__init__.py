"""Curation: the hint loop, and the filter that keeps golden trajectories (paper section 3.2)."""
