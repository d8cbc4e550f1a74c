"""The main job from an empty cluster to a resolved alert, on whatever cluster there is."""
