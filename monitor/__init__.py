"""The transfer monitor: reads records and returns records."""

from monitor.config import MonitorConfig
from monitor.monitor import Measure, Monitor

__all__ = ["Measure", "Monitor", "MonitorConfig"]
