"""What to do: laws, performance, economics, plans, approval, reports. Pure: no torch, network, clock or environment."""
