"""Project files: `tongqu.yaml` and what stands beside it, read, merged, checked and explained."""
