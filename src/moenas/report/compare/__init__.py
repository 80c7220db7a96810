"""Several runs side by side: their models on the images that all of them share."""
