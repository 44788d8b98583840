"""Trainers. What they train is nobody's business: TRL would report every training to the hub."""

import logging
import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# It is imported wherever it is installed, and says that a faster kernel from the hub is not.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
