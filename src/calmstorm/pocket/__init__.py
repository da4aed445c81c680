"""The embedded pocket Reasoner: a tiny Qwen3 trained from scratch on generated, solver-verified problems.

It makes every part of the package run for real on a laptop. It is no evidence about large models.
"""
