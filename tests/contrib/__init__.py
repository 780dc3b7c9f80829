from pathlib import Path

CONTRIB = Path(__file__).parents[2] / "contrib"
