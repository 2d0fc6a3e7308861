"""What the repository says about itself: documents, schemas, releases, benchmarks, public names, the harness."""
