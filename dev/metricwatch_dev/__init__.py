"""Local cluster, images and demo; never shipped."""
