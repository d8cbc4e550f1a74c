"""The chart's Grafana dashboards as panels and queries; their JSON follows from them."""
