"""Fields that are computed over a whole dataset: triage, suggested labels, embeddings, comparisons."""
