"""intervener"""
