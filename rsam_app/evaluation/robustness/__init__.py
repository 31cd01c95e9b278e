"""What a model answers when its images change: corruptions, backgrounds, views, subsets."""
