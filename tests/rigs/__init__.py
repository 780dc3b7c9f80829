"""Real registries and clients, and a stand-in for what the real ones at hand cannot do."""
