"""What a network is for: how data is read, what a network is judged by, how it is measured, saved and described."""
