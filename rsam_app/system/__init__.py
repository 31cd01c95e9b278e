"""The machine underneath: errors, progress, hardware, files, caches, processes and the database."""
