"""The heads of the tables of plans and runs. Apart from their cells, because the first paint needs only them."""

PLAN_COLUMNS = ("PLAN", "NAME", "STATE", "LOSS", "COST", "CAP", "TIME")
RUN_COLUMNS = ("RUN", "PLAN", "STATE", "STEP", "LOSS", "COST")
