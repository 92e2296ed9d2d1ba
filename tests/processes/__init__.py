"""The real server as a process, with what it depends on: loads, outages, kills."""
