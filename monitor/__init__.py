"""The transfer monitor: reads records and returns records."""
