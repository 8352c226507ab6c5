"""What lies under everything: files, processes, devices, random streams, run folders, weights files."""
