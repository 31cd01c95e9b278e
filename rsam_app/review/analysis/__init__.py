"""Fields computed from all predictions of a run: triage, suggested labels, embeddings, comparisons."""
