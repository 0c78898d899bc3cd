"""Where in the image: from statistics of windows to probability and decision maps."""
