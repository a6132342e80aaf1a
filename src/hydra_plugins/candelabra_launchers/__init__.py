"""Hydra launchers of candelabra; Hydra finds plugins in the namespace `hydra_plugins` only."""
