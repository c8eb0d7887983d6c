"""Features in two dimensions: who is near whom, as a picture and as a page with the images themselves."""
