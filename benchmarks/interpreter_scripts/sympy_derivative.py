# The slope of a cost curve, simplified, and its value at three loads.
import sympy

load = sympy.symbols("load")
cost = load**2 * sympy.exp(-load) + 3 * sympy.cos(2 * load) - 5 * load**3
slope = sympy.simplify(sympy.diff(cost, load))
print(slope)
print([sympy.N(slope.subs(load, value), 6) for value in (0, 1, 3)])
