"""Continuous batching of a Qwen3 model in this process.

The `scheduler` gives requests a slot in the `kv_cache`; `sequences` holds what is known about every slot. A step
gathers tokens of all running sequences into a `batch`, `qwen3` runs it with the `attention` of the cache, the `sampler`
draws the next tokens, and `stops` finds stop strings in them.
"""
