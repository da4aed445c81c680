# Thirty parcels, one van: the most valuable load that it carries.
import pulp

parcels = range(30)
value = [9 + (41 * parcel + 7) % 47 for parcel in parcels]
weight = [5 + (23 * parcel + 3) % 37 for parcel in parcels]
model = pulp.LpProblem("van", pulp.LpMaximize)
taken = [pulp.LpVariable(f"taken{parcel}", cat="Binary") for parcel in parcels]
model += pulp.lpSum(value[parcel] * taken[parcel] for parcel in parcels)
model += pulp.lpSum(weight[parcel] * taken[parcel] for parcel in parcels) <= 190
model.solve(pulp.PULP_CBC_CMD(msg=0))
print(pulp.LpStatus[model.status], pulp.value(model.objective))
