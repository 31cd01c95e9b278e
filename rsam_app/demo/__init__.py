"""The generated data set of `rsam demo`: beetles, what is planted among them, and what was found of it."""
