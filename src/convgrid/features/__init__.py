"""What a frozen network makes of images, computed once: kept on the disk, trained on, written and drawn."""
