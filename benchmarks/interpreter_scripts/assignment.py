# Ten crews, ten sites, one each: the cheapest assignment, as binaries for CBC.
import pulp

crews, sites = range(10), range(10)
cost = {(crew, site): 3 + (11 * crew * site + 5 * crew + 17 * site) % 29 for crew in crews for site in sites}
model = pulp.LpProblem("crews", pulp.LpMinimize)
sent = pulp.LpVariable.dicts("sent", cost, cat="Binary")
model += pulp.lpSum(cost[pair] * sent[pair] for pair in cost)
for crew in crews:
    model += pulp.lpSum(sent[crew, site] for site in sites) == 1
for site in sites:
    model += pulp.lpSum(sent[crew, site] for crew in crews) == 1
model.solve(pulp.PULP_CBC_CMD(msg=0))
print(pulp.LpStatus[model.status], pulp.value(model.objective))
