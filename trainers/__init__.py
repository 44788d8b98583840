"""Trainers. What they train is nobody's business: TRL would report every training to the hub."""

import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
