"""Methods compared with each other and with ground truth, and speed with the textbook's."""
