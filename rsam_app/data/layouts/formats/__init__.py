"""File formats that several releases share: text tables, MATLAB files, Pascal VOC, bird lists."""
