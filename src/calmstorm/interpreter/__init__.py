"""Runs model-written code. See docs/interpreter.md for the threat model."""
