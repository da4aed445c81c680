# Three blends from two tanks and one press: which quantities earn most?
import numpy as np
from scipy.optimize import linprog

profit = np.array([6.0, 4.5, 7.0])
hours_and_litres = np.array([[1.0, 2.0, 1.5], [3.0, 1.0, 2.0], [0.5, 1.5, 3.0]])
available = np.array([40.0, 60.0, 45.0])
answer = linprog(-profit, A_ub=hours_and_litres, b_ub=available, bounds=[(0, 18)] * 3, method="highs")
print(answer.status, round(-answer.fun, 4), np.round(answer.x, 4).tolist())
