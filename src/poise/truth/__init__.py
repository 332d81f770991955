"""What is known of architectures: tables of trained networks, the one that comes with poise and those of your own."""
