"""How good ranked lists are: metrics with intervals, baselines, and a report beside published figures."""
