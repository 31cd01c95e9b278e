"""The Python interface: what `import rsam_app as rsam` offers. See docs/python.md."""
