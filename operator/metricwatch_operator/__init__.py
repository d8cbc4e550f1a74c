"""The only room that talks to Kubernetes: observe, plan, apply."""
