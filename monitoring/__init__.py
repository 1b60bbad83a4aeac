"""Prometheus' alert rules and Grafana's dashboard for Nightshift (docs/how-to/monitor.md)."""
